package kinesis

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// servedShards names the variable that makes this test program serve a stream
// of so many shards instead of testing, for benchmarks that count only the
// reader's time and memory.
const servedShards = "GERRITSTREAM_TEST_SERVED_SHARDS"

// servedStream is what such a server tells of itself.
type servedStream struct{ URL, Control, Authority string }

// streamCounts are the connections that the server has had.
type streamCounts struct{ Subscriptions, Others int }

// serveStream serves an embedded Kinesis over TLS and HTTP/2 until its standard
// input ends.
func serveStream(shards int) {
	srv := kinesistest.New(kinesistest.Options{})
	if _, err := srv.CreateStream("gerrit", shards); err != nil {
		panic(err)
	}
	var mu sync.Mutex
	conns := map[bool]map[string]bool{true: {}, false: {}} // by whether they carried subscriptions
	served := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[strings.HasSuffix(r.Header.Get("X-Amz-Target"), "SubscribeToShard")][r.RemoteAddr] = true
		mu.Unlock()
		srv.ServeHTTP(w, r)
	}))
	served.EnableHTTP2 = true
	served.StartTLS()
	control := http.NewServeMux()
	control.HandleFunc("/put", func(_ http.ResponseWriter, r *http.Request) {
		data := strconv.AppendInt(nil, time.Now().UnixNano(), 10)
		if _, err := srv.PutTo("gerrit", r.FormValue("shard"), "k", data); err != nil {
			panic(err)
		}
	})
	control.HandleFunc("/counts", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(streamCounts{len(conns[true]), len(conns[false])})
	})
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: served.Certificate().Raw}))
	_ = json.NewEncoder(os.Stdout).Encode(servedStream{served.URL, httptest.NewServer(control).URL, authority})
	_, _ = os.Stdin.Read(make([]byte, 1))
}
