package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/storetest"
)

// recorder is a Tracer that keeps its spans.
type recorder struct {
	unsampled bool

	mu    sync.Mutex
	spans []*span // under mu
}

// span is what a recorder knows of one. It belongs to the shard's goroutine,
// and to the test after that.
type span struct {
	shard       gs.ShardID
	term        uint64
	traceparent string
	began       time.Time
	took        time.Duration
	retries     int
	ended       int
	outcome     consumer.Outcome
	err         error
	entries     []string // ids
	dead        int
}

func (r *recorder) Commit(shard gs.ShardID, term uint64) consumer.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &span{shard: shard, term: term, began: time.Now()}
	r.spans = append(r.spans, s)
	if !r.unsampled {
		s.traceparent = fmt.Sprintf("00-%032x-%016x-01", 1, len(r.spans))
	}
	return s
}

func (s *span) Traceparent() string { return s.traceparent }

func (s *span) Retried(error) { s.retries++ }

func (s *span) End(c *gs.Commit, outcome consumer.Outcome, err error) {
	s.ended++
	s.outcome, s.err, s.took, s.dead = outcome, err, time.Since(s.began), len(c.DeadLetters)
	for i := range c.Entries {
		s.entries = append(s.entries, c.Entries[i].ID.String())
	}
}

// of returns the span that an entry carries.
func (r *recorder) of(e *gs.Entry) *span {
	for _, s := range r.spans {
		if s.traceparent == e.Event.Attributes["traceparent"] {
			return s
		}
	}
	return nil
}

func withTracer(r *recorder) func(*consumer.Config) { return func(c *consumer.Config) { c.Tracer = r } }

// Every commit has one span, which says what became of it, and every entry in
// the queue carries the span of the commit that queued it, in spite of refused
// commits, lost replies and crashes of the store.
func TestEveryEntryCarriesTheSpanOfItsCommit(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		for _, fault := range []storetest.Fault{storetest.NoFault, storetest.NoFault, storetest.RetryLater,
			storetest.ApplyButError, storetest.Refuse, storetest.RetryLater, storetest.ApplyButError} {
			cl.memory.FailNext(storetest.PointCommit, fault)
		}
		spans := &recorder{}
		cl.traffic(s0, 30)
		cl.traffic(s1, 30)
		cl.start(untilCaughtUp, withTracer(spans)).wait(t)
		cl.check()
		outcomes, retries := map[consumer.Outcome]int{}, 0
		for _, s := range spans.spans {
			outcomes[s.outcome]++
			retries += s.retries
			if s.ended != 1 || (s.err == nil) != (s.outcome == consumer.Committed) || s.term == 0 {
				t.Errorf("a span: %+v", s)
			}
		}
		if outcomes[consumer.Unknown] != 3 || outcomes[consumer.NotWritten] != 0 || retries != 2 {
			t.Errorf("outcomes: %v, retries: %d; want 3 unknown, and 2 retries", outcomes, retries)
		}
		unknown := 0
		for _, e := range cl.memory.Entries() {
			s := spans.of(&e)
			if s == nil || s.shard != e.Shard || !strings.Contains(strings.Join(s.entries, " "), e.ID.String()) {
				t.Fatalf("%s carries %q, the span %+v", e.ID, e.Event.Attributes, s)
			}
			if s.outcome == consumer.Unknown {
				unknown++
			}
		}
		if unknown == 0 {
			t.Error("no entry is of a commit whose reply was lost")
		}
	})
}

// The sinks get the span as well. It is theirs and the store's time, and an
// entry that a sink refused is within it.
func TestASpanBeginsBeforeTheSinks(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		spans := &recorder{}
		slow := &memorySink{name: "slow", fail: func(e *gs.Entry) error {
			if s := spans.of(e); s == nil || s.ended != 0 {
				t.Errorf("the sink gets %s with %q", e.ID, e.Event.Attributes)
			}
			time.Sleep(time.Second)
			if bytes.HasPrefix(e.Payload, []byte("odd")) {
				return &gs.RejectedError{Reason: "odd"}
			}
			return nil
		}}
		cl.stream.put(s0, "one", "odd", "three")
		cl.start(untilCaughtUp, withTracer(spans), withSinks(slow)).wait(t)
		var s *span
		for _, each := range spans.spans {
			if len(each.entries) > 0 {
				s = each
			}
		}
		if s == nil || len(s.entries) != 3 || s.took < 3*time.Second || s.outcome != consumer.Committed {
			t.Errorf("the span: %+v", s)
		}
		if dead := cl.memory.DeadLetters(); len(dead) != 1 || dead[0].Reason != gs.ReasonRejected {
			t.Errorf("dead letters: %+v", dead)
		}
	})
}

// A stop while a sink is waited for writes nothing, and the span says so.
func TestASpanOfACommitThatIsCutOff(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		spans := &recorder{}
		stuck := &memorySink{name: "stuck", fail: func(*gs.Entry) error { return errors.New("stuck") }}
		cl.stream.put(s0, "one")
		p := cl.start(withTracer(spans), withSinks(stuck))
		time.Sleep(time.Minute)
		p.end()
		last := spans.spans[len(spans.spans)-1]
		if last.outcome != consumer.NotWritten || !errors.Is(last.err, context.Canceled) || len(last.entries) != 1 {
			t.Errorf("the last span: %+v", last)
		}
	})
}

// A span that nobody keeps is not carried, and what the Classifier has given is
// left alone.
func TestAnEntryCarriesItsOwnSpanOrNone(t *testing.T) {
	const own = "00-000000000000000000000000000000aa-00000000000000bb-01"
	for _, unsampled := range []bool{false, true} {
		inCluster(t, 1, func(t *testing.T, cl *cluster) {
			given := map[string]string{"tenant": "a"}
			spans := &recorder{unsampled: unsampled}
			cl.stream.put(s0, "bare", "tenant", "own")
			cl.start(untilCaughtUp, withTracer(spans), func(c *consumer.Config) {
				c.Classify = func(_ gs.ShardID, r *gs.Record) (v gs.Verdict) {
					switch string(r.Data) {
					case "tenant":
						v.Event.Attributes = given
					case "own":
						v.Event.Attributes = map[string]string{"traceparent": own}
					}
					return v
				}
			}).wait(t)
			for _, e := range cl.memory.Entries() {
				a := e.Event.Attributes
				kept := spans.spans[len(spans.spans)-1].traceparent
				for _, s := range spans.spans {
					if strings.Contains(strings.Join(s.entries, " "), e.ID.String()) {
						kept = s.traceparent
					}
				}
				if string(e.Payload) == "own" {
					kept = own
				}
				if a["traceparent"] != kept || string(e.Payload) == "tenant" && a["tenant"] != "a" {
					t.Errorf("%s carries %q, want %q", e.Payload, a, kept)
				}
				if _, ok := a["traceparent"]; ok && kept == "" {
					t.Errorf("%s carries %q", e.Payload, a)
				}
			}
			if len(given) != 1 {
				t.Errorf("the Classifier's map was changed: %q", given)
			}
		})
	}
}

// Entries are as heavy as they will be with the attribute: no commit is beyond
// the limits because of it.
func TestASpanIsWithinTheLimits(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		commits := 0
		cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
			if w.Point == storetest.PointCommit && len(w.Commit.Entries) > 0 {
				commits++
				if err := w.Commit.Check(gs.Limits{Items: 4, Weight: 8 << 10}); err != nil {
					t.Error(err)
				}
			}
			return storetest.NoFault
		})
		e := gs.Entry{}
		half := 4<<10 - e.Weight() // two such are as much as a commit takes without a span
		record := strings.Repeat("x", half)
		cl.stream.put(s0, record, record, record, record)
		cl.start(untilCaughtUp, withTracer(&recorder{})).wait(t)
		if n := len(cl.memory.Entries()); n != 4 || commits != 4 {
			t.Errorf("%d entries in %d commits, want 4 in 4", n, commits)
		}
	})
}
