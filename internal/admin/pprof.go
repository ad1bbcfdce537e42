package admin

import (
	"net/http"
	"net/http/pprof"
)

// handlePprof adds Go's profiles of this process to what is served. A profile
// of the processor or a trace takes as many seconds as the request says, for
// which the time-out of the answer is prolonged.
func handlePprof(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
