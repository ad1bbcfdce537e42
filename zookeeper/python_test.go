package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/storetest"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// python writes Zuul's checkpoint as Python's listener does that found none, or
// a damaged one: unconditionally.
func (cl *cluster) python(shard gerritstream.ShardID, value string) {
	cl.t.Helper()
	cl.put(cl.checkpointPath(shard), []byte(value))
}

func quoted(n int) string { return `{"checkpoint": "` + string(sequence(n)) + `"}` }

// A term goes on after what a Python process handled. The arrival of its last
// record is not known; the time of its checkpoint is a hint.
func TestTakingOverFromPython(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	cl.python(shardA, quoted(7))
	term := elect(t, store, shardA)
	pos := term.Beginning().Position
	if pos.After != sequence(7) || !pos.Arrived.IsZero() || time.Since(pos.CheckpointedAt) > time.Minute ||
		len(pos.Lost) != 0 {
		t.Errorf("the term begins with %+v", pos)
	}
	commit(t, term, step(shardA, 8, 9))
	resign(t, term)
	cl.python(shardA, quoted(20))
	begins(t, elect(t, store, shardA), sequence(20))
	cl.checkpoint(shardA, sequence(20))
}

// A Python process starts at the tip when it finds no checkpoint: what had
// arrived since the anchor is reported as possibly lost.
func TestPythonLedFromLatest(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	term := elect(t, store, shardA)
	commit(t, term, gerritstream.Commit{Position: anchor()})
	cl.checkpoint(shardA, "")
	resign(t, term)
	cl.python(shardA, quoted(30))
	term = elect(t, store, shardA)
	begins(t, term, sequence(30))
	began := term.Beginning()
	pos, lost := began.Position, began.Lost
	if lost == nil || !lost.From.Equal(arrival) || time.Since(lost.Until) > time.Minute ||
		lost.Why != gerritstream.WhyForeignLed {
		t.Errorf("possibly lost: %+v", lost)
	}
	pos = pos.WithLost(*lost)
	commit(t, term, gerritstream.Commit{Position: pos})
	resign(t, term)
	term = elect(t, store, shardA)
	if again := term.Beginning().Lost; again != nil {
		t.Errorf("what was committed is found again: %+v", again)
	}
	in, err := store.Inspect(soon(t))
	if err != nil || len(in.Shards[shardA].Position.Lost) != 1 {
		t.Errorf("%+v, %v", in.Shards[shardA], err)
	}
}

// Whatever Zuul's node holds, a term begins with our own position, and the node
// is repaired before anything is queued.
func TestGarbageInZuulsCheckpoint(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 1, 5))
	for _, garbage := range []string{"", "null", "{}", "[]", `"x"`, "{", "\x00\xff", `{"checkpoint": null}`,
		`{"checkpoint": 7}`, `{"checkpoint": "seven"}`, quoted(3)} {
		resign(t, term)
		cl.python(shardA, garbage)
		term = elect(t, store, shardA)
		begins(t, term, sequence(5))
		cl.checkpoint(shardA, sequence(5))
	}
	resign(t, term)
	cl.remove(cl.checkpointPath(shardA))
	term = elect(t, store, shardA)
	begins(t, term, sequence(5))
	cl.checkpoint(shardA, sequence(5))
	commit(t, term, step(shardA, 6, 7))
	cl.queued(events(shardA, 1, 7)...)
}

// An unreadable position of ours is replaced by Zuul's checkpoint, if there is
// one.
func TestUnreadablePosition(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 1, 5))
	resign(t, term)
	cl.put(cl.own("/e0/positions/"+string(shardA)), []byte("garbage"))
	term = elect(t, store, shardA)
	begins(t, term, sequence(5))
	commit(t, term, step(shardA, 6, 7))
	cl.queued(events(shardA, 1, 7)...)
}

// A Python process that has lost its leadership and does not know it writes its
// checkpoint while we lead. A conditional write fails after our transaction;
// before it we find the version changed. The same holds for an unconditional
// write, except that our checkpoint may be gone.
func TestPythonZombie(t *testing.T) {
	type zombie func(cl *cluster, value string)
	unconditional := func(cl *cluster, value string) { cl.python(shardA, value) }
	deleting := func(cl *cluster, value string) {
		cl.remove(cl.checkpointPath(shardA))
		cl.python(shardA, value)
	}
	for name, tc := range map[string]struct {
		from  *gerritstream.Position // what the term begins with; nil: records 1 and 2
		write zombie
		value string
		want  []gerritstream.Entry // of records 3 to 6
		z     int                  // Zuul's checkpoint then
	}{
		"ahead: what it has queued is dropped":  {nil, unconditional, quoted(4), events(shardA, 5, 6), 6},
		"ahead of all of it: all is dropped":    {nil, unconditional, quoted(9), nil, 9},
		"before ours: nothing is dropped":       {nil, unconditional, quoted(1), events(shardA, 3, 6), 6},
		"the same: nothing is dropped":          {nil, unconditional, quoted(2), events(shardA, 3, 6), 6},
		"null: nothing is dropped":              {nil, unconditional, `{"checkpoint": null}`, events(shardA, 3, 6), 6},
		"garbage: nothing is dropped":           {nil, unconditional, `[`, events(shardA, 3, 6), 6},
		"deleted and recreated, ahead":          {nil, deleting, quoted(4), events(shardA, 5, 6), 6},
		"from an anchor it began elsewhere":     {new(anchor()), unconditional, quoted(4), events(shardA, 3, 6), 6},
		"from an anchor, deleted and recreated": {new(anchor()), deleting, quoted(4), events(shardA, 3, 6), 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store := cl.open(zookeeper.Config{})
			term := elect(t, store, shardA)
			var queued []gerritstream.Entry
			if tc.from != nil {
				commit(t, term, gerritstream.Commit{Position: *tc.from})
			} else {
				commit(t, term, step(shardA, 1, 2))
				queued = events(shardA, 1, 2)
			}
			resign(t, term)
			term = elect(t, store, shardA)
			tc.write(cl, tc.value)
			c := step(shardA, 3, 6)
			c.DeadLetters = []gerritstream.DeadLetter{deadLetter(shardA, 4), deadLetter(shardA, 6)}
			commit(t, term, c)
			cl.queued(append(queued, tc.want...)...)
			cl.checkpoint(shardA, sequence(tc.z))
			deadLetters := 0
			for _, d := range c.DeadLetters {
				if len(tc.want) > 0 && d.Seq.Compare(tc.want[0].Seq) >= 0 {
					deadLetters++
				}
			}
			if got := len(cl.deadLetters()); got != deadLetters {
				t.Errorf("%d dead letters, want %d", got, deadLetters)
			}
			commit(t, term, step(shardA, 7, 12)) // what the zombie had queued stays dropped
			var rest []gerritstream.Entry
			for n := 7; n <= 12; n++ {
				if n > tc.z {
					rest = append(rest, event(shardA, n, 100))
				}
			}
			cl.queued(append(append(queued, tc.want...), rest...)...)
			cl.checkpoint(shardA, sequence(12))
		})
	}
}

// A zombie that wrote before our first commit is noticed even if that commit
// does not change Zuul's checkpoint.
func TestZombieBehindAnUnchangedCheckpoint(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 1, 2))
	resign(t, term)
	term = elect(t, store, shardA)
	cl.python(shardA, quoted(3))
	part := gerritstream.Commit{Position: after(2), Entries: []gerritstream.Entry{event(shardA, 3, 100)}}
	part.Entries[0].Sub = 0
	part.Position.Partial = &gerritstream.Partial{Seq: sequence(3), Sub: 0}
	commit(t, term, part)
	cl.queued(events(shardA, 1, 2)...)
}

// Our transaction fences a Python zombie: the version that the zombie has read
// is outdated.
func TestPythonIsFenced(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	cl.python(shardA, quoted(2))
	_, stat, err := cl.raw.Get(cl.checkpointPath(shardA))
	if err != nil {
		t.Fatal(err)
	}
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 3, 4))
	if _, err := cl.raw.Set(cl.checkpointPath(shardA), []byte(quoted(3)), stat.Version); !errors.Is(err,
		zk.ErrBadVersion) {
		t.Errorf("the zombie's write returned %v", err)
	}
	// a zombie that found no checkpoint would create it
	if _, err := cl.raw.Create(cl.checkpointPath(shardA), []byte(quoted(3)), 0,
		zk.WorldACL(zk.PermAll)); !errors.Is(err, zk.ErrNodeExists) {
		t.Errorf("the zombie's creation returned %v", err)
	}
}

// A program that keeps writing is not a zombie: the term ends.
func TestAnotherProgramKeepsWriting(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store, link := cl.linked()
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 1, 2))
	writes := make(chan int)
	stop := make(chan struct{})
	n := 0
	match := func(b []byte) bool { // before each transaction, Zuul's checkpoint changes
		if request(opMulti, "/positions/")(b) {
			n++
			select {
			case writes <- n:
				receive(t, writes)
			case <-stop:
			}
		}
		return false
	}
	link.LoseNextRequest(match)
	go func() {
		for i := range writes {
			_, _ = cl.raw.Set(cl.checkpointPath(shardA), []byte(quoted(100+i)), -1)
			writes <- 0
		}
	}()
	err := term.Commit(soon(t), step(shardA, 300, 301))
	close(stop)
	close(writes)
	if err == nil || errors.Is(err, gerritstream.ErrRetryLater) {
		t.Errorf("commit returned %v", err)
	}
	ended(t, term)
	if n != 3 {
		t.Errorf("the commit was tried %d times", n)
	}
	cl.queued(events(shardA, 1, 2)...)
}

// An operator who writes a position ends the term, and the next one begins with
// it.
func TestOperatorSetsAPosition(t *testing.T) {
	for name, tamper := range map[string]func(*cluster, string){
		"sets": func(cl *cluster, path string) {
			cl.put(path, storekit.EncodePosition(after(1), gerritstream.Stamp{Nonce: "operator"}))
			cl.python(shardA, quoted(1))
		},
		"deletes": func(cl *cluster, path string) {
			cl.remove(path)
			cl.python(shardA, quoted(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store := cl.open(zookeeper.Config{})
			term := elect(t, store, shardA)
			commit(t, term, step(shardA, 1, 3))
			tamper(cl, cl.own("/e0/positions/"+string(shardA)))
			if err := term.Commit(soon(t), step(shardA, 4, 5)); err == nil ||
				errors.Is(err, gerritstream.ErrRetryLater) {
				t.Errorf("commit returned %v", err)
			}
			ended(t, term)
			cl.queued(events(shardA, 1, 3)...)
			resign(t, term)
			begins(t, elect(t, store, shardA), sequence(1))
		})
	}
}

// An idle leader notices that, too.
func TestIdleTermObeysTheOperator(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	a, b := elect(t, store, shardA), elect(t, store, shardB)
	commit(t, a, step(shardA, 1, 3))
	cl.put(cl.own("/e0/positions/"+string(shardA)), storekit.EncodePosition(after(1),
		gerritstream.Stamp{Nonce: "operator"}))
	ended(t, a)
	cl.put(cl.own("/e0/positions/"+string(shardB)), storekit.EncodePosition(after(1),
		gerritstream.Stamp{Nonce: "operator"}))
	ended(t, b) // it had none
}

// A leader whose lock node is deleted notices at once, even if it is idle.
func TestLockNodeDeleted(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	term := elect(t, cl.open(zookeeper.Config{}), shardA)
	began := time.Now()
	cl.expire(shardA)
	ended(t, term)
	if took := time.Since(began); took > steady/2 {
		t.Errorf("the leader noticed after %v", took)
	}
	if cause := context.Cause(term.Context()); !errors.Is(cause, gerritstream.ErrLeadershipLost) {
		t.Errorf("the term ended with %v", cause)
	}
}

// State that is deleted under a running process is recreated, as far as it is
// known elsewhere.
func TestStateDeleted(t *testing.T) {
	for name, tc := range map[string]struct {
		remove []string
		goesOn bool // the term
	}{
		"the queue":     {[]string{"/zuul/events/connection/gerrit/events"}, true},
		"dead letters":  {[]string{"/gerritstream/gerrit/dead"}, true},
		"our positions": {[]string{"/gerritstream/gerrit/e0"}, false},
		"all of ours":   {[]string{"/gerritstream"}, false},
		"all of Zuul's": {[]string{"/zuul"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store := cl.open(zookeeper.Config{})
			term := elect(t, store, shardA)
			commit(t, term, step(shardA, 1, 3))
			for _, path := range tc.remove {
				cl.remove(cl.chroot + path)
			}
			c := step(shardA, 4, 5)
			c.Position, c.DeadLetters = after(6), []gerritstream.DeadLetter{deadLetter(shardA, 6)}
			err := term.Commit(soon(t), c)
			if (err == nil) != tc.goesOn {
				t.Errorf("commit returned %v", err)
			}
			if err != nil {
				_ = term.Resign(soon(t))
				term = elect(t, store, shardA)
				begins(t, term, sequence(3))
				commit(t, term, c)
			}
			if got := len(cl.deadLetters()); got != 1 {
				t.Errorf("%d dead letters", got)
			}
			got := cl.entries()
			for i, e := range events(shardA, 4, 5) {
				if j := len(got) - 2 + i; j < 0 || got[j].ID != e.ID {
					t.Errorf("the queue ends without record %d: %d entries", 4+i, len(got))
				}
			}
			cl.checkpoint(shardA, sequence(6))
			resign(t, term)
			begins(t, elect(t, store, shardA), sequence(6))
		})
	}
}

// If all state is deleted, a term begins without a position.
func TestAllStateDeleted(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 1, 3))
	cl.remove(cl.chroot + "/gerritstream")
	cl.remove(cl.chroot + "/zuul")
	ended(t, term)
	term = elect(t, store, shardA)
	begins(t, term, "")
	commit(t, term, step(shardA, 4, 5))
	cl.queued(events(shardA, 4, 5)...)
}

// Zuul's checkpoint of an earlier stream of the same name is ignored in the
// next epoch.
func TestCheckpointOfAnEarlierStream(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		created time.Duration // of the stream, from now on
		want    gerritstream.SequenceNumber
	}{
		"written before the stream was made": {time.Hour, ""},
		"written since":                      {-time.Hour, sequence(9)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store := cl.open(zookeeper.Config{})
			start := gerritstream.Origin{Epoch: 1, Stream: stream,
				From: gerritstream.StartingPosition{TrimHorizon: true}}
			start.Stream.Created = time.Now().Add(tc.created)
			if err := store.SetOrigin(soon(t), nil, start); err != nil {
				t.Fatal(err)
			}
			cl.python(shardA, quoted(9))
			term, err := store.Campaign(soon(t), 1, shardA)
			if err != nil {
				t.Fatal(err)
			}
			begins(t, term, tc.want)
			cl.checkpoint(shardA, tc.want)
		})
	}
}

// Stale lock nodes of a process do not keep its candidates waiting.
func TestStaleLockNodesAreRemoved(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	resign(t, elect(t, store, shardA))
	stale := fmt.Sprintf("%s/%s%s__lock__", cl.election(shardA), store.Process(), strings.Repeat("0", 16))
	if _, err := cl.raw.Create(stale, []byte{}, zk.FlagSequence, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := store.Campaign(ctx, 0, shardA); err != nil {
		t.Fatalf("campaign after a stale lock node: %v", err)
	}
	if candidates := cl.children(cl.election(shardA)); len(candidates) != 1 {
		t.Errorf("the candidates are %q", candidates)
	}
}

// A stale lock node is removed when its process lists the candidates, even of a
// shard that the process does not campaign for: the node would keep the shard
// from all others.
func TestStaleLockNodesOfOtherShardsAreRemoved(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	term := elect(t, store, shardA)
	resign(t, elect(t, store, shardB))
	stale := fmt.Sprintf("%s/%s%s__lock__", cl.election(shardB), store.Process(), strings.Repeat("0", 16))
	if _, err := cl.raw.Create(stale, []byte{}, zk.FlagSequence, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	groupState(t, store, shardA, shardB)
	within(t, 20*time.Second, "the stale lock node is gone",
		func() bool { return len(cl.children(cl.election(shardB))) == 0 })
	commit(t, elect(t, cl.open(zookeeper.Config{}), shardB), step(shardB, 1, 1))
	commit(t, term, step(shardA, 1, 1))
}

// The lock node of a candidacy that ends just as its request's connection is
// lost is looked for until the request can have no effect any more.
func TestCancelledWithTheConnectionLost(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store, link := cl.linked()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store.Intercept(func(_ storetest.Point, write func() error) error {
		err := write()
		if err != nil {
			// Connected again: the withdrawal finds no node, and is confirmed.
			if _, _, err := store.Origin(t.Context()); err != nil {
				t.Error(err)
			}
			cancel()
		}
		return err
	})
	resign(t, elect(t, store, shardB)) // the session stands
	lost := link.LoseNextRequest(request(opCreate, "__lock__"))
	if _, err := store.Campaign(ctx, 0, shardA); !errors.Is(err, context.Canceled) {
		t.Errorf("campaign returned %v", err)
	}
	receive(t, lost)
	if n := store.Orphans(shardA); n != 1 {
		t.Errorf("%d lock nodes are looked for, want 1", n)
	}
}

// Checkpoints returns Zuul's checkpoints that can be understood.
func TestCheckpointsAreZuuls(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	for shard, raw := range map[gerritstream.ShardID]string{
		"readable": quoted(7), "null": `{"checkpoint": null}`, "garbage": "{",
	} {
		cl.put(cl.checkpointPath(shard), []byte(raw))
	}
	got, err := store.Checkpoints(t.Context(), []gerritstream.ShardID{"readable", "null", "garbage", "absent"})
	if err != nil || len(got) != 1 || got["readable"] != sequence(7) {
		t.Errorf("%v, %v; want only the readable one", got, err)
	}
}
