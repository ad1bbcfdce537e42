package consumer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/storetest"
)

// errUnheard has words that nothing can recognise.
var errUnheard = errors.New("qwx")

// tells is an error that tells its kind.
type tells trouble.Kind

func (tells) Error() string { return "qwx" }

func (k tells) TroubleKind() trouble.Kind { return trouble.Kind(k) }

// hindered are sinks that can be made to fail, or to block until open is
// called.
type hindered struct {
	fails  memorySink
	blocks gate
	open   func()
}

// Whatever a source, a store or a sink reports, in whatever words, is of the
// kind that it is: none of it ends as trouble that nobody can advise on.
func TestEveryTroubleHasItsKind(t *testing.T) {
	list := func(err error) func(*cluster, *hindered) {
		return func(cl *cluster, _ *hindered) {
			cl.stream.change(func() { cl.stream.listErr = func() error { return err } })
		}
	}
	read := func(err error) func(*cluster, *hindered) {
		return func(cl *cluster, _ *hindered) {
			cl.stream.change(func() { cl.stream.readErr = func(gs.ShardID, gs.Position) error { return err } })
		}
	}
	commit := func(fault storetest.Fault) func(*cluster, *hindered) {
		return func(cl *cluster, _ *hindered) {
			cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
				if w.Point == storetest.PointCommit {
					return fault
				}
				return storetest.NoFault
			})
		}
	}
	retried := func(err error) error { return fmt.Errorf("%w: %w", gs.ErrRetrying, err) }
	tests := map[string]struct {
		hinder func(*cluster, *hindered)
		of     gs.ShardID // empty: of the process
		want   trouble.Kind
	}{
		"a listing fails":             {list(errUnheard), "", trouble.SourceFails},
		"a listing is denied":         {list(fmt.Errorf("qwx: %w", gs.ErrDenied)), "", trouble.AccessDenied},
		"the stream is gone":          {list(fmt.Errorf("qwx: %w", gs.ErrStreamNotFound)), "", trouble.StreamGone},
		"a listing is not answered":   {list(fmt.Errorf("qwx: %w", tells(trouble.SourceAway))), "", trouble.SourceAway},
		"a read fails":                {read(retried(errUnheard)), s0, trouble.SourceFails},
		"a read is denied":            {read(retried(gs.ErrDenied)), s0, trouble.AccessDenied},
		"a read is throttled":         {read(retried(tells(trouble.Throttled))), s0, trouble.Throttled},
		"a read ends for good":        {read(errUnheard), s0, trouble.SourceFails},
		"the shard is not found":      {read(gs.ErrShardNotFound), s0, trouble.SourceFails},
		"a commit is to be repeated":  {commit(storetest.RetryLater), s0, trouble.StoreAway},
		"a commit fails":              {commit(storetest.Refuse), s0, trouble.StoreAway},
		"the reply to a commit fails": {commit(storetest.ApplyButError), s0, trouble.StoreAway},
		"a commit does not return": {func(cl *cluster, _ *hindered) { cl.processes[0].store.Freeze() }, s0,
			trouble.StoreAway},
		"a sink fails": {func(_ *cluster, h *hindered) {
			h.fails.fail = func(*gs.Entry) error { return errUnheard }
		}, s0, trouble.Sink},
		"a sink does not return": {func(_ *cluster, h *hindered) { h.open = h.blocks.close() }, s0, trouble.Sink},
		"a bad position":         {read(gs.ErrBadPosition), s0, trouble.Halted},
		"a silent source": {func(cl *cluster, _ *hindered) {
			cl.stream.change(func() { cl.stream.pollEvery = time.Hour })
		}, s0, trouble.Stalled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				h := &hindered{fails: memorySink{name: "sink"}, open: func() {}}
				halts := func(c *consumer.Config) { c.OnBadCheckpoint = consumer.BadCheckpointHalt }
				p := cl.start(withSinks(&h.fails, &h.blocks), halts)
				time.Sleep(time.Minute)
				tt.hinder(cl, h)
				defer func() { h.open() }()
				defer cl.memory.SetHook(nil)
				defer p.store.Thaw()
				var s gs.Status
				var v overview.View
				for range 120 {
					cl.stream.put(s0, "good")
					time.Sleep(time.Second)
					s = p.Status()
					v = overview.New(&overview.Input{Process: s, Now: time.Now()})
					if s.Causes[tt.of] == string(tt.want) && v.Level == overview.Trouble {
						break
					}
				}
				if s.Causes[tt.of] != string(tt.want) || v.Level != overview.Trouble {
					t.Errorf("the causes are %v of %q and %q, the level is %v",
						s.Causes, s.Trouble, s.Shards[0].Trouble, v.Level)
				}
				for i := range v.Causes {
					if v.Causes[i].Help == "other-trouble" {
						t.Errorf("nobody can advise on %+v", v.Causes[i])
					}
				}
			})
		})
	}
}

// A report tells the kinds of what it reports, and of nothing else; and what
// the program has to tell.
func TestAReportTellsItsKinds(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		withExtra := func(c *consumer.Config) { c.Extra = func() json.RawMessage { return json.RawMessage(`{"a":1}`) } }
		cl.start(withExtra)
		cl.start(withExtra)
		time.Sleep(time.Minute)
		cl.stream.change(func() {
			cl.stream.readErr = func(gs.ShardID, gs.Position) error {
				return fmt.Errorf("%w: %w", gs.ErrRetrying, errUnheard)
			}
		})
		time.Sleep(2 * time.Minute)
		in, err := cl.processes[0].store.Inspect(t.Context())
		if err != nil || len(in.Reports) != 2 {
			t.Fatalf("%d reports: %v", len(in.Reports), err)
		}
		told := 0
		for _, r := range in.Reports {
			want := map[gs.ShardID]string{}
			for i := range r.Status.Shards {
				if r.Status.Shards[i].Trouble != "" {
					want[r.Status.Shards[i].Shard] = string(trouble.SourceFails)
				}
			}
			if string(r.Status.Extra) != `{"a":1}` {
				t.Errorf("%s tells %q besides", r.Process, r.Status.Extra)
			}
			if told += len(want); !maps.Equal(r.Status.Causes, want) {
				t.Errorf("%s reports %v, want %v", r.Process, r.Status.Causes, want)
			}
		}
		if told < 2 {
			t.Errorf("%d shards are in trouble", told)
		}
	})
}
