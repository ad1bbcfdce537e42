package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// BenchmarkHandOver restarts three processes with six shards one by one. It
// measures when the next leader of a shard is elected, and when that has read
// its first page: from SIGTERM (stop), or from when a leader decides to hand a
// shard over to a process that has come (move). The reads of the last leader
// count against the next one for a second: it waits its turn.
func BenchmarkHandOver(b *testing.B) {
	stores := map[string]func(testing.TB) string{
		"sqlite":    func(tb testing.TB) string { tb.Helper(); return "sqlite:" + newDatabase(tb) },
		"zookeeper": func(tb testing.TB) string { tb.Helper(); return "zookeeper://" + sharedZooKeeper(tb) },
		"postgres": func(tb testing.TB) string {
			tb.Helper()
			fsync := map[string]string{"fsync": "on"}
			return peers.StartPostgreSQL(tb, peers.PostgreSQLOptions{Settings: fsync}).URL("postgres")
		},
	}
	for _, store := range slices.Sorted(maps.Keys(stores)) {
		b.Run(store, func(b *testing.B) {
			const processes, shards = 3, 6
			r := &restarts{
				b: b, folder: b.TempDir(), store: stores[store](b), shards: shards,
				endpoint: emulateWith(b, "--stream", streamName, "--shards", strconv.Itoa(shards)),
			}
			for range processes {
				r.join()
			}
			r.moves = handOvers{}
			for b.Loop() {
				r.leave()
				r.join()
			}
			r.stops.report(b, "stop")
			r.moves.report(b, "move")
		})
	}
}

// restarts are processes that are restarted in turn.
type restarts struct {
	b                       *testing.B
	folder, store, endpoint string
	shards                  int
	running                 []*program
	started                 int
	stops, moves            handOvers
}

// handOvers are how long it took until the next leader was elected, and until
// it had read its first page.
type handOvers struct{ elected, read []time.Duration }

// join starts a process and waits until all shards are led and evenly shared.
func (r *restarts) join() {
	r.b.Helper()
	r.started++
	args := []string{
		"run", "--stream", streamName, "--region", "us-east-1", "--endpoint", r.endpoint, "--store", r.store,
		"--start-at", "trim-horizon", "--admin", "127.0.0.1:0", "--log-format", "json",
		"--history", filepath.Join(r.folder, strconv.Itoa(r.started)+".ndjson"),
	}
	began := time.Now()
	p := start(r.b, args...)
	r.running = append(r.running, p)
	eventually(r.b, "the process takes part", func() bool {
		return bytes.Contains(p.log(r.b), []byte("origin")) && r.isShared()
	})
	for _, other := range r.running[:len(r.running)-1] {
		for shard, at := range r.handedOver(other) {
			if at.After(began) {
				r.await(&r.moves, shard, at)
			}
		}
	}
	<-time.After(time.Second + rand.N(time.Second)) // anywhere between the looks of the others
}

// leave ends the oldest process, which leads, and waits until what it led is
// read.
func (r *restarts) leave() {
	r.b.Helper()
	p := r.running[0]
	r.running = r.running[1:]
	name, mine := fmt.Sprintf("process-%d", p.Process.Pid), []gerritstream.ShardID{}
	for shard, leader := range led(r.events()) {
		if leader == name {
			mine = append(mine, shard)
		}
	}
	began := time.Now()
	p.signal(r.b, syscall.SIGTERM)
	p.wait(r.b, patience)
	for _, shard := range mine {
		r.await(&r.stops, shard, began)
	}
}

// isShared reports whether all shards are led, by each process as many as by
// any other, but for one.
func (r *restarts) isShared() bool {
	counts := map[string]int{}
	leaders := led(r.events())
	for _, p := range leaders {
		counts[p]++
	}
	most := slices.Max(append(slices.Collect(maps.Values(counts)), 0))
	return len(leaders) == r.shards && most == (r.shards+len(r.running)-1)/len(r.running)
}

// events reads what the processes have written so far.
func (r *restarts) events() []history.Event {
	events, err := history.Read(r.folder)
	if err != nil { // a process is writing a line, or has not begun
		return nil
	}
	return events
}

// await waits until the shard's next term after a moment has read its first
// page.
func (r *restarts) await(to *handOvers, shard gerritstream.ShardID, since time.Time) {
	r.b.Helper()
	eventually(r.b, "the next leader reads", func() bool {
		var elected time.Time
		for _, e := range r.events() {
			switch {
			case e.Shard != shard, e.At.Before(since):
			case e.Kind == history.KindElected:
				elected = e.At
			case e.Kind == history.KindRead && !elected.IsZero():
				to.elected, to.read = append(to.elected, elected.Sub(since)), append(to.read, e.At.Sub(since))
				return true
			}
		}
		return false
	})
}

// handedOver returns when a process last decided to hand over each shard, as
// its log has it.
func (r *restarts) handedOver(p *program) map[gerritstream.ShardID]time.Time {
	at := map[gerritstream.ShardID]time.Time{}
	lines := bufio.NewScanner(bytes.NewReader(read(r.b, p.stderr.Name())))
	for lines.Scan() {
		var line struct {
			Time  time.Time            `json:"time"`
			Msg   string               `json:"msg"`
			Shard gerritstream.ShardID `json:"shard"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "handing over the shard" {
			at[line.Shard] = line.Time
		}
	}
	return at
}

// report reports the median, the 99th percentile and the longest.
func (h *handOvers) report(b *testing.B, kind string) {
	b.Helper()
	n := len(h.read)
	if n == 0 {
		return
	}
	for until, took := range map[string][]time.Duration{"elected": h.elected, "read": h.read} {
		slices.Sort(took)
		for name, at := range map[string]int{"p50": (n - 1) / 2, "p99": (n*99 - 1) / 100, "max": n - 1} {
			b.ReportMetric(float64(took[at].Microseconds())/1000, kind+"-"+until+"-"+name+"-ms")
		}
	}
	b.ReportMetric(float64(n), kind+"s")
}
