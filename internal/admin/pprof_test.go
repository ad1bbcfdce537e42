package admin

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gerritstream/gerritstream"
)

// TestProfilesAreServedOnRequest: they are there with the setting alone, and
// for the names that everything is there for.
func TestProfilesAreServedOnRequest(t *testing.T) {
	o := Options{Address: "127.0.0.1:0", Status: fixed(gerritstream.Status{}), Metrics: newMetrics()}
	for _, tc := range []struct {
		pprof      bool
		path, host string
		want       int
	}{
		{false, "/debug/pprof/", "127.0.0.1", http.StatusNotFound},
		{false, "/debug/pprof/heap", "127.0.0.1", http.StatusNotFound},
		{true, "/debug/pprof/", "127.0.0.1", http.StatusOK},
		{true, "/debug/pprof/goroutine?debug=1", "127.0.0.1", http.StatusOK},
		{true, "/debug/pprof/goroutine?debug=1", "rebound.example", http.StatusMisdirectedRequest},
	} {
		o.Pprof = tc.pprof
		w := httptest.NewRecorder()
		newHosts(o.Address, o.Hosts).guard(handler(o, t.Context().Done())).ServeHTTP(w,
			httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+tc.host+tc.path, nil))
		if w.Code != tc.want {
			t.Errorf("%s at %s, setting %v: %d, want %d", tc.path, tc.host, tc.pprof, w.Code, tc.want)
		}
	}
}
