package consumer_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/storetest"
)

// memorySink keeps what it is given, and fails on demand.
type memorySink struct {
	name string
	fail func(e *gs.Entry) error // asked before each entry

	mu  sync.Mutex
	got []string // id and payload
}

func (m *memorySink) Name() string { return m.name }

func (m *memorySink) Deliver(_ context.Context, entries []gs.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		err := error(nil)
		if m.fail != nil {
			err = m.fail(&entries[i])
		}
		var rejected *gs.RejectedError
		if errors.As(err, &rejected) {
			rejected.Index = i
		}
		if err != nil {
			return err
		}
		m.got = append(m.got, entries[i].ID.String()+" "+string(entries[i].Payload))
	}
	return nil
}

func withSinks(sinks ...gs.Sink) func(*consumer.Config) {
	return func(c *consumer.Config) { c.Sinks = sinks }
}

// What is queued was delivered before. A delivery that fails is repeated, under
// the same id, until the term ends.
func TestSinksGetEverythingAtLeastOnceUnderOneID(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		failures := 0
		sink := &memorySink{name: "flaky", fail: func(*gs.Entry) error {
			if failures++; failures%7 == 0 {
				return errors.New("not now")
			}
			return nil
		}}
		cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
			if w.Point != storetest.PointCommit {
				return storetest.NoFault
			}
			for _, e := range w.Commit.Entries {
				if !slices.Contains(sink.got, e.ID.String()+" "+string(e.Payload)) {
					t.Errorf("%s is committed before it is delivered", e.Payload)
				}
			}
			return storetest.NoFault
		})
		for _, fault := range []storetest.Fault{storetest.NoFault, storetest.NoFault, storetest.ApplyButError,
			storetest.Refuse} {
			cl.memory.FailNext(storetest.PointCommit, fault)
		}
		cl.traffic(s0, 20)
		cl.start(untilCaughtUp, withSinks(sink)).wait(t)
		cl.check()
		for _, e := range cl.memory.Entries() {
			if !slices.Contains(sink.got, e.ID.String()+" "+string(e.Payload)) {
				t.Errorf("%s was not delivered", e.Payload)
			}
		}
	})
}

// A sink that will never take an entry does not stop the shard: the entry is
// dead-lettered naming the sinks, and its neighbours, the queue and other sinks
// are not affected. A record that the Source could not split is a dead letter
// with its reason and what is wrong.
func TestADeadLetterShowsWhatTheSourceFoundWrong(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.put(s0, "good", "torn", "good too")
		cl.stream.change(func() {
			torn := &cl.stream.shards[s0].records[1]
			torn.Bad, torn.Detail = gs.ReasonAggregate, "its checksum is wrong"
		})
		cl.start(untilCaughtUp).wait(t)
		dead := cl.memory.DeadLetters()
		if len(dead) != 1 || dead[0].Reason != gs.ReasonAggregate || dead[0].Detail != "its checksum is wrong" ||
			string(dead[0].Payload) != "torn" {
			t.Errorf("got %+v", dead)
		}
		if n := len(cl.memory.Entries()); n != 2 {
			t.Errorf("%d entries are queued, want 2", n)
		}
	})
}

func TestARefusedEntryIsDeadLetteredNamingTheSink(t *testing.T) {
	for nth := range 6 {
		inCluster(t, 1, func(t *testing.T, cl *cluster) {
			refuse := func(e *gs.Entry) error {
				if strings.HasPrefix(string(e.Payload), "odd") {
					return &gs.RejectedError{Reason: "too odd"}
				}
				return nil
			}
			picky, other := &memorySink{name: "picky", fail: refuse}, &memorySink{name: "other"}
			pickier := &memorySink{name: "pickier", fail: refuse}
			cl.failNth(storetest.PointCommit, storetest.ApplyButError, nth)
			cl.stream.put(s0, "good 1", "odd 2", "odd 3", "good 4", "odd 5")
			cl.start(untilCaughtUp, withSinks(picky, other, pickier)).wait(t)
			if n := len(cl.memory.Entries()); n != 5 {
				t.Errorf("%d entries in the queue, want 5", n)
			}
			dead := cl.memory.DeadLetters()
			if len(dead) != 3 {
				t.Fatalf("%d dead letters, want 3", len(dead))
			}
			for _, d := range dead {
				if d.Reason != gs.ReasonRejected || d.Detail != "picky: too odd; pickier: too odd" {
					t.Errorf("dead letter %s: %s", d.Reason, d.Detail)
				}
			}
			if n := len(slices.Compact(slices.Sorted(slices.Values(other.got)))); n != 5 {
				t.Errorf("the other sink got %d entries", n)
			}
			if n := len(slices.Compact(slices.Sorted(slices.Values(picky.got)))); n != 2 {
				t.Errorf("the picky sink got %d entries", n)
			}
		})
	}
}

// A sink that is down stalls its shard, shows in the status, and does not delay
// a stop.
func TestADeadSinkHoldsTheShardButNotAStop(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		sink := &memorySink{name: "down", fail: func(*gs.Entry) error { return errors.New("connection refused") }}
		cl.stream.put(s0, "good")
		p := cl.start(withSinks(sink))
		time.Sleep(time.Hour)
		if n := len(cl.memory.Entries()); n != 0 {
			t.Errorf("%d entries queued past a sink that is down", n)
		}
		if s := p.Status().Shards[0]; s.State != gs.StateReading || !strings.Contains(s.Trouble, "deliver to down") {
			t.Errorf("status %+v", s)
		}
		before := time.Now()
		p.stop()
		<-p.done
		if took := time.Since(before); took > time.Second {
			t.Errorf("stopped in %s", took)
		}
	})
}
