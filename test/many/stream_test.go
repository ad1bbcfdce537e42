package many

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gerritstream/gerritstream/kinesistest"
)

const streamName = "gerrit"

// watched is an embedded Kinesis with an account's limits. It knows who asked
// for what.
type watched struct {
	server   *kinesistest.Server
	endpoint string

	mu      sync.Mutex
	calls   map[string]int    // under mu: by operation; those refused by "OPERATION refused"
	readers map[string]string // under mu: by shard, the access key of who asked for an iterator last
	putter  int               // under mu: records put
}

// newWatched serves a stream of so many shards.
func newWatched(t *testing.T, shards int) *watched {
	t.Helper()
	w := &watched{
		server: kinesistest.New(kinesistest.Options{ShardLimit: 10_000}),
		calls:  map[string]int{}, readers: map[string]string{},
	}
	if _, err := w.server.CreateStream(streamName, shards); err != nil {
		t.Fatal(err)
	}
	w.server.On(kinesistest.Hook{Operation: "GetShardIterator", Do: kinesistest.Observe(w.sought)})
	listener := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(listener.Close)
	w.endpoint = listener.URL
	return w
}

// statusWriter remembers the status of a reply.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// serve counts calls.
func (w *watched) serve(rw http.ResponseWriter, r *http.Request) {
	reply := &statusWriter{rw, http.StatusOK}
	w.server.ServeHTTP(reply, r)
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if reply.status != http.StatusOK {
		operation += " refused"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[operation]++
}

// sought notes who will read a shard.
func (w *watched) sought(r *kinesistest.Request, reply *kinesistest.Reply) {
	if reply.Status != http.StatusOK {
		return
	}
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(rest, "/")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.readers[r.Shard] = key
}

// counted returns the calls so far, by operation.
func (w *watched) counted() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.calls)
}

// open returns the ids of the open shards.
func (w *watched) open(t *testing.T) (ids []string) {
	t.Helper()
	shards, err := w.server.Shards(streamName)
	if err != nil {
		t.Fatal(err)
	}
	for _, shard := range shards {
		if shard.Open {
			ids = append(ids, shard.ID)
		}
	}
	return ids
}

// read returns how many of these shards somebody reads, by access key.
func (w *watched) read(shards []string) map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	by := map[string]int{}
	for _, id := range shards {
		if key := w.readers[id]; key != "" {
			by[key]++
		}
	}
	return by
}

// put puts a record on each open shard.
func (w *watched) put(t *testing.T) {
	t.Helper()
	for _, id := range w.open(t) {
		w.mu.Lock()
		w.putter++
		n := w.putter
		w.mu.Unlock()
		event := fmt.Appendf(nil, `{"type":"ref-updated","refUpdate":{"oldRev":"%040d","newRev":"%040d",`+
			`"refName":"refs/heads/main","project":"example"}}`, n, n+1)
		if _, err := w.server.PutTo(streamName, id, "k", event); err != nil {
			t.Fatal(err)
		}
	}
}

// total returns how many records were put.
func (w *watched) total() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.putter
}

// resize has the stream split or merged to so many shards.
func (w *watched) resize(t *testing.T, shards int) {
	t.Helper()
	body := fmt.Sprintf(`{"StreamName":%q,"TargetShardCount":%d,"ScalingType":"UNIFORM_SCALING"}`, streamName, shards)
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, w.endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.UpdateShardCount")
	r.Header.Set("Authorization", "any")
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		t.Fatalf("UpdateShardCount: %s", reply.Status)
	}
}

// short are the operations' names in the table.
var short = strings.NewReplacer("GetShardIterator", "iterators", "GetRecords", "reads", "ListShards", "lists",
	"DescribeStreamSummary", "describes")

// difference describes the calls between two counts.
func difference(before, after map[string]int) string {
	var parts []string
	for _, operation := range slices.Sorted(maps.Keys(after)) {
		if n := after[operation] - before[operation]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, short.Replace(operation)))
		}
	}
	return strings.Join(parts, ", ")
}
