package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// traffic generates events for a putter, and knows what must become of each.
type traffic struct {
	generator *gerrittest.Generator // of the goroutine that takes the events

	mu   sync.Mutex
	want map[string]gerrittest.Want // by SHA-256, under mu
}

func newTraffic(seed uint64) *traffic {
	options := gerrittest.Options{SpreadKeys: true, Within: 400, BadEvery: 40}
	return &traffic{generator: gerrittest.New(seed, options), want: map[string]gerrittest.Want{}}
}

// events returns the next events for as long as more returns true.
func (tr *traffic) events(more func(made int) bool) iter.Seq[peers.Event] {
	return func(yield func(peers.Event) bool) {
		for i := 0; more(i); i++ {
			if !yield(tr.next()) {
				return
			}
		}
	}
}

// next generates one event and notes what must become of it.
func (tr *traffic) next() peers.Event {
	r := tr.generator.Next()
	sum := sha256.Sum256(r.Data)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.want[hex.EncodeToString(sum[:])] = r.Want
	return peers.Event{Key: r.Key, Data: r.Data}
}

// wantOf returns what must become of a generated event.
func (tr *traffic) wantOf(e peers.Event) gerrittest.Want {
	sum := sha256.Sum256(e.Data)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.want[hex.EncodeToString(sum[:])]
}

// put puts the next n events.
func (tr *traffic) put(t *testing.T, putter peers.Putter, n int) []wantedPut {
	t.Helper()
	peers.Require(t, peers.Boto3)
	var out bytes.Buffer
	if err := putter.PutTo(t.Context(), tr.events(func(made int) bool { return made < n }), &out); err != nil {
		t.Fatal(err)
	}
	puts := tr.wanted(t, out.Bytes())
	if len(puts) != n {
		t.Fatalf("the stream took %d of %d events", len(puts), n)
	}
	return puts
}

// putDirectly puts the next n events into the test's own Kinesis, without
// boto3.
func (tr *traffic) putDirectly(t *testing.T, stream *kinesistest.Server, n int) (puts []wantedPut) {
	t.Helper()
	for range n {
		e := tr.next()
		shard, seq, err := stream.Put(streamName, e.Key, e.Data)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(e.Data)
		put := peers.Put{Shard: shard, SequenceNumber: seq, SHA256: hex.EncodeToString(sum[:]), Key: e.Key}
		puts = append(puts, wantedPut{put, tr.wantOf(e)})
	}
	return puts
}

// wantedPut is where an event went in the stream, and what must become of it.
type wantedPut struct {
	peers.Put
	Want gerrittest.Want `json:"want"`
}

// wanted reads the output of a putter.
func (tr *traffic) wanted(t *testing.T, output []byte) []wantedPut {
	t.Helper()
	puts, err := peers.ReadPuts(bytes.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var wanted []wantedPut
	for _, put := range puts {
		want, ok := tr.want[put.SHA256]
		if !ok {
			t.Fatalf("the putter put bytes that were not generated: %s", put.SHA256)
		}
		wanted = append(wanted, wantedPut{put, want})
	}
	return wanted
}

// writePuts writes puts into a file for the witness.
func writePuts(t *testing.T, puts []wantedPut) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "puts.ndjson")
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, put := range puts {
		if err := enc.Encode(put); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// count returns how many puts have a wanted outcome.
func count(puts []wantedPut, want gerrittest.Want) int {
	n := 0
	for _, put := range puts {
		if put.Want == want {
			n++
		}
	}
	return n
}
