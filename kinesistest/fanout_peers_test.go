package kinesistest_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// boto3 subscribes over HTTP/1.1 and the SDK for JavaScript over HTTP/2, each
// with and without TLS. Each gets the events, an exception in mid-stream, a cut
// connection, and the end of the shard; boto3 a corrupt frame as well, after
// which the SDK for JavaScript keeps its stream open.
func TestSubscribersOfOtherSDKs(t *testing.T) {
	for name, tc := range map[string]struct {
		run    func(peers.Subscriber, testing.TB) []peers.Subscribed
		secure bool
		proto  int // HTTP's major version
	}{
		"boto3":           {peers.Subscriber.Boto3, false, 1},
		"boto3, TLS":      {peers.Subscriber.Boto3, true, 1},
		"JavaScript":      {peers.Subscriber.JavaScript, false, 2},
		"JavaScript, TLS": {peers.Subscriber.JavaScript, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := kinesistest.New(kinesistest.Options{NoLimits: true})
			must[string](t)(srv.CreateStream("s", 1))
			sizes := []int{700_000, 600_000, 1<<20 - 1, 500_000} // each is an event of its own
			for _, size := range sizes {
				must[string](t)(srv.PutTo("s", id(0), "k", make([]byte, size)))
			}
			left, right, err := srv.Split("s", id(0))
			if err != nil {
				t.Fatal(err)
			}
			for i, do := range []kinesistest.Action{
				kinesistest.FailStream(1, kinesistest.Fault{Code: "InternalFailureException", Message: "it is us"}),
				kinesistest.CutStream(1), kinesistest.CutStream(1),
			} {
				if i == 1 && tc.proto == 1 {
					do = kinesistest.CorruptStream(1)
				}
				breakSubscription(srv, i, do)
			}
			s := peers.Subscriber{Stream: "s", Shard: id(0)}
			var other atomic.Int32
			s.Endpoint, s.CA = serveBoth(t, tc.secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != tc.proto {
					other.Add(1)
				}
				srv.ServeHTTP(w, r)
			}))
			got := tc.run(s, t)
			if len(got) != 8 || got[0].Consumer == "" {
				t.Fatalf("got %+v", got)
			}
			for i, size := range sizes {
				if event := got[1+2*i]; !slices.Equal(event.Sizes, []int{size}) {
					t.Errorf("event %d has records of %d bytes, want %d", i, event.Sizes, size)
				}
			}
			if got[2].Error != "InternalFailureException" || got[4].Error == "" || got[6].Error == "" {
				t.Errorf("the errors are %q, %q, %q", got[2].Error, got[4].Error, got[6].Error)
			}
			if !slices.Equal(got[7].Children, []string{left, right}) {
				t.Errorf("it ended with the children %q", got[7].Children)
			}
			if other.Load() > 0 {
				t.Errorf("%d requests did not come over HTTP/%d", other.Load(), tc.proto)
			}
		})
	}
}

// breakSubscription makes a fault befall the n-th request for a subscription.
func breakSubscription(srv *kinesistest.Server, n int, do kinesistest.Action) {
	var seen atomic.Int32
	srv.On(kinesistest.Hook{Operation: "SubscribeToShard", Do: do, Match: func(*kinesistest.Request) bool {
		return int(seen.Add(1)) == n+1
	}})
}

// serveBoth serves a handler over HTTP/1.1 and HTTP/2, with TLS or without. ca
// is the file with the authority.
func serveBoth(t *testing.T, secure bool, h http.Handler) (endpoint, ca string) {
	t.Helper()
	served := httptest.NewUnstartedServer(h)
	t.Cleanup(served.Close)
	if !secure {
		served.Config.Protocols = new(http.Protocols)
		served.Config.Protocols.SetHTTP1(true)
		served.Config.Protocols.SetUnencryptedHTTP2(true)
		served.Start()
		return served.URL, ""
	}
	served.EnableHTTP2 = true
	served.StartTLS()
	ca = filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: served.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return served.URL, ca
}
