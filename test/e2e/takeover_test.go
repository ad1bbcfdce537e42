package e2e

import (
	"bytes"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// takeovers is how often the leader is ended.
const takeovers = 10

// stopLimit is how long a stop on SIGTERM may take.
const stopLimit = 5 * time.Second

// TestLeaderIsSucceeded ends the leader of two processes on one file, again and
// again, under traffic and through a split and a merge. Each time the other
// continues, and a new one joins. Nothing is lost or doubled.
func TestLeaderIsSucceeded(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, database := emulate(t), newDatabase(t)
			putter := peers.Putter{
				Endpoint: endpoint, Stream: streamName, Create: 4, Reshard: 1200, Batch: 10,
				Pause: 50 * time.Millisecond,
			}
			flow := startFlow(t, newTraffic(2), putter)
			eventually(t, "traffic flows", func() bool { return flow.made.Load() > 100 })
			members := []*program{start(t, fromStart(endpoint, database)...),
				start(t, fromStart(endpoint, database)...)}
			eventually(t, "events are queued", func() bool { return rows(t, database) > 0 })
			for range takeovers {
				members = succeed(t, database, members, sig)
				members = append(members, start(t, fromStart(endpoint, database)...))
			}
			puts := flow.end(t)
			eventually(t, "everything is queued", func() bool {
				return rows(t, database) >= count(puts, gerrittest.Queued)
			})
			for _, member := range members {
				stop(t, member)
			}
			checkExact(t, database, puts)
		})
	}
}

// succeed ends the member that leads and returns the others once they have
// queued more.
func succeed(t *testing.T, database string, members []*program, sig syscall.Signal) []*program {
	t.Helper()
	leader := -1
	eventually(t, "one of two leads", func() bool {
		s := readStatus(t, database)
		for i, member := range members {
			if s.leads(member) > 0 && (leader < 0 || s.leads(member) > s.leads(members[leader])) {
				leader = i
			}
		}
		return leader >= 0
	})
	if sig == syscall.SIGTERM {
		stop(t, members[leader])
	} else {
		members[leader].signal(t, sig)
		members[leader].wait(t, stopLimit)
	}
	before := rows(t, database)
	rest := append(members[:leader:leader], members[leader+1:]...)
	eventually(t, "the other continues", func() bool {
		return rows(t, database) > before && readStatus(t, database).leads(rest[0]) > 0
	})
	return rest
}

// stop ends a program by SIGTERM; it must end soon, with exit code 0.
func stop(tb testing.TB, p *program) {
	tb.Helper()
	p.signal(tb, syscall.SIGTERM)
	if code := p.wait(tb, stopLimit); code != 0 {
		tb.Errorf("process %d ended on SIGTERM with exit code %d, want 0", p.Process.Pid, code)
	}
}

// rows counts the events in a database; -1: it does not exist yet, or is
// incomplete.
func rows(t *testing.T, database string) int {
	t.Helper()
	out, err := sqlite3(t, "-readonly", database, "SELECT count(*) FROM events").Output()
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(out)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// flow is a putter that runs until it is ended.
type flow struct {
	traffic *traffic
	made    atomic.Int64 // events handed to the putter
	enough  atomic.Bool
	out     bytes.Buffer  // of the putter until ended
	ended   chan struct{} // closed once err and out are set
	err     error
}

// startFlow starts a putter, which ends with the test at the latest.
func startFlow(t *testing.T, tr *traffic, putter peers.Putter) *flow {
	t.Helper()
	peers.Require(t, peers.Boto3)
	f := &flow{traffic: tr, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		f.err = putter.PutTo(t.Context(), tr.events(func(made int) bool {
			f.made.Store(int64(made))
			return !f.enough.Load()
		}), &f.out)
	}()
	t.Cleanup(func() { <-f.ended }) // its context has ended
	return f
}

// end ends the flow once everything handed to the putter is put.
func (f *flow) end(t *testing.T) []wantedPut {
	t.Helper()
	f.enough.Store(true)
	select {
	case <-f.ended:
	case <-time.After(patience):
		t.Fatal("the putter does not end")
	}
	if f.err != nil {
		t.Fatal(f.err)
	}
	return f.traffic.wanted(t, f.out.Bytes())
}
