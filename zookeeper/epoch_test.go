package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// setOrigin makes or changes the origin, as another process does.
func (cl *cluster) setOrigin(epoch int, retention time.Duration) {
	cl.t.Helper()
	store := cl.open(zookeeper.Config{})
	was, ok, err := store.Origin(soon(cl.t))
	if err != nil {
		cl.t.Fatal(err)
	}
	prev := &was
	if !ok {
		prev = nil
	}
	next := gerritstream.Origin{Epoch: epoch, Stream: stream, From: gerritstream.StartingPosition{Time: arrival},
		Retention: retention}
	if err := store.SetOrigin(soon(cl.t), prev, next); err != nil {
		cl.t.Fatal(err)
	}
	if err := store.Close(soon(cl.t)); err != nil {
		cl.t.Fatal(err)
	}
}

// nodes describes all nodes but lock nodes, by path: their data, and when it
// was written.
func (cl *cluster) nodes() map[string]string {
	cl.t.Helper()
	all := map[string]string{}
	var walk func(path string)
	walk = func(path string) {
		data, stat, err := cl.raw.Get(path)
		if errors.Is(err, zk.ErrNoNode) {
			return
		}
		if err != nil {
			cl.t.Fatalf("read %s: %v", path, err)
		}
		all[path] = fmt.Sprintf("%d %q", stat.Mzxid, data)
		for _, child := range cl.children(path) {
			if strings.Contains(child, "__lock__") {
				continue
			}
			walk(path + "/" + child)
		}
	}
	walk(cl.own(""))
	walk(cl.zuul(""))
	return all
}

// unchanged checks that nothing was written since was was read.
func (cl *cluster) unchanged(was map[string]string) {
	cl.t.Helper()
	if now := cl.nodes(); !maps.Equal(was, now) {
		cl.t.Errorf("ZooKeeper held\n%v\nand holds\n%v", was, now)
	}
}

// catchUp returns once a store has heard of everything that was written before:
// a term that knows of no origin learns of one by a watch.
func catchUp(t *testing.T, store gerritstream.Store) {
	t.Helper()
	if _, _, err := store.Origin(soon(t)); err != nil {
		t.Fatal(err)
	}
}

// stale checks that an error says that the epoch is over.
func stale(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, gerritstream.ErrStaleEpoch) || errors.Is(err, gerritstream.ErrRetryLater) {
		t.Fatalf("it returned %v, want %v", err, gerritstream.ErrStaleEpoch)
	}
}

// staleTerm checks that a term has ended because its epoch is over.
func staleTerm(t *testing.T, term gerritstream.Term) {
	t.Helper()
	ended(t, term)
	if cause := context.Cause(term.Context()); !errors.Is(cause, gerritstream.ErrStaleEpoch) ||
		!errors.Is(cause, gerritstream.ErrLeadershipLost) {
		t.Errorf("the term ended with %v", cause)
	}
}

// A candidate of an epoch that is over is refused when it is first, and writes
// nothing: it neither restores Zuul's checkpoint nor removes an unfinished
// large event.
func TestACandidateOfAnEpochThatIsOverLeavesNothing(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	cl.setOrigin(0, 0)
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 1, 2))
	resign(t, term)
	cl.remove(cl.checkpointPath(shardA))
	cl.put(cl.own("/intents/"+string(shardA)), []byte("0f9f1a38-7c39-4dbb-8a36-a5b27ad3c0c1"))
	cl.setOrigin(1, 0)
	was := cl.nodes()
	_, err := store.Campaign(soon(t), 0, shardA)
	stale(t, err)
	cl.unchanged(was)
	if candidates := cl.children(cl.election(shardA)); len(candidates) != 0 {
		t.Errorf("the candidates are %q", candidates)
	}
}

// A term that begins just as the stream is found recreated does not write
// Zuul's checkpoint.
func TestAnEpochEndsAsATermBegins(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store, link := cl.linked()
	cl.setOrigin(0, 0)
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 1, 2))
	resign(t, term)
	cl.remove(cl.checkpointPath(shardA))
	repair := request(opMulti, "/checkpoint-aws_kinesis_")
	var was map[string]string
	link.LoseNextRequest(func(b []byte) bool {
		if was == nil && repair(b) {
			cl.setOrigin(1, 0)
			was = cl.nodes()
		}
		return false
	})
	_, err := store.Campaign(soon(t), 0, shardA)
	stale(t, err)
	if was == nil {
		t.Fatal("Zuul's checkpoint was not to be written")
	}
	eventually(t, "there is no candidate", func() bool { return len(cl.children(cl.election(shardA))) == 0 })
	cl.unchanged(was)
}

// A leader that has not heard that the stream was recreated writes nothing
// more, whatever it has to write, and its term ends.
func TestATermOfAnEpochThatIsOverCommitsNothing(t *testing.T) {
	large := gerritstream.Commit{Position: after(2), Entries: []gerritstream.Entry{event(shardA, 2, 2_000_000)}}
	deadLetters := gerritstream.Commit{
		Position: after(2), DeadLetters: []gerritstream.DeadLetter{deadLetter(shardA, 2)},
	}
	for name, tc := range map[string]struct {
		c     gerritstream.Commit
		first bool // the very first commit of the shard
		none  bool // there was no origin when the term began
		lose  func(*peers.Link, func([]byte) bool) <-chan struct{}
	}{
		"events":           {c: step(shardA, 2, 3)},
		"first position":   {c: step(shardA, 2, 3), first: true},
		"position":         {c: gerritstream.Commit{Position: after(2)}},
		"dead letters":     {c: deadLetters},
		"large event":      {c: large},
		"request lost":     {c: step(shardA, 2, 3), lose: (*peers.Link).LoseNextRequest},
		"reply lost":       {c: step(shardA, 2, 3), lose: (*peers.Link).LoseNextReply},
		"no origin before": {c: step(shardA, 2, 3), none: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store, link := cl.linked()
			if !tc.none {
				cl.setOrigin(0, 0)
			}
			term := elect(t, store, shardA)
			if !tc.first {
				commit(t, term, step(shardA, 1, 1))
			}
			cl.setOrigin(1, 0)
			if tc.lose != nil {
				tc.lose(link, request(opMulti, "/positions/"))
			}
			was := cl.nodes()
			if tc.none {
				catchUp(t, store)
			}
			stale(t, term.Commit(soon(t), tc.c))
			staleTerm(t, term)
			resign(t, term)
			cl.unchanged(was)
		})
	}
}

// An origin that changes within its epoch, is deleted or comes back ends no
// term and stops no commit. The term still heeds the next epoch.
func TestAnOriginThatChangesWithinItsEpoch(t *testing.T) {
	t.Parallel()
	large := gerritstream.Commit{Position: after(9), Entries: []gerritstream.Entry{event(shardA, 9, 2_000_000)}}
	for name, tc := range map[string]struct {
		change func(cl *cluster)
		c      gerritstream.Commit
	}{
		"retention":                {func(cl *cluster) { cl.setOrigin(0, time.Hour) }, step(shardA, 2, 3)},
		"retention, a large event": {func(cl *cluster) { cl.setOrigin(0, time.Hour) }, large},
		"deleted":                  {func(cl *cluster) { cl.remove(cl.own("/start")) }, step(shardA, 2, 3)},
		"deleted, a large event":   {func(cl *cluster) { cl.remove(cl.own("/start")) }, large},
		"deleted and recreated": {func(cl *cluster) {
			cl.remove(cl.own("/start"))
			cl.setOrigin(0, 0)
			cl.setOrigin(0, time.Hour)
		}, step(shardA, 2, 3)},
		"garbage": {func(cl *cluster) { cl.put(cl.own("/start"), []byte("garbage")) },
			step(shardA, 2, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			cl.setOrigin(0, 0)
			store := cl.open(zookeeper.Config{})
			term := elect(t, store, shardA)
			commit(t, term, step(shardA, 1, 1))
			tc.change(cl)
			commit(t, term, tc.c)
			commit(t, term, step(shardA, 10, 12))
			cl.queued(append(append(events(shardA, 1, 1), tc.c.Entries...), events(shardA, 10, 12)...)...)
			cl.checkpoint(shardA, sequence(12))
			cl.remove(cl.own("/start"))
			cl.setOrigin(1, 0)
			catchUp(t, store)
			stale(t, term.Commit(soon(t), step(shardA, 13, 13)))
			staleTerm(t, term)
		})
	}
}

// A commit whose reply or request is lost while the origin changes is carried
// out at most once. Within the epoch it is carried out, and the term goes on;
// if the epoch is over, it counts if it was carried out before.
func TestALostCommitAndAnOriginThatChanges(t *testing.T) {
	for loss, lose := range losses {
		for epoch := range 2 {
			t.Run(fmt.Sprintf("%s, epoch %d", loss, epoch), func(t *testing.T) {
				t.Parallel()
				cl := newCluster(t, single)
				store, link := cl.linked()
				cl.setOrigin(0, 0)
				term := elect(t, store, shardA)
				commit(t, term, step(shardA, 1, 1))
				lost := lose(link, request(opMulti, "/positions/"))
				reads, changed := request(opGet, "/positions/"), false
				link.LoseNextRequest(func(b []byte) bool { // between the loss and what is sent for it
					select {
					case <-lost:
						if !changed && reads(b) {
							changed = true
							cl.setOrigin(epoch, time.Hour)
						}
					default:
					}
					return false
				})
				last := 3
				switch err := term.Commit(soon(t), step(shardA, 2, 3)); {
				case epoch == 1 && loss == "request lost":
					stale(t, err)
					last = 1
				case err != nil:
					t.Fatal(err)
				}
				receive(t, lost)
				if epoch == 0 {
					commit(t, term, step(shardA, 4, 4))
					last = 4
				} else {
					stale(t, term.Commit(soon(t), step(shardA, 4, 4)))
					staleTerm(t, term)
				}
				cl.queued(events(shardA, 1, last)...)
				cl.checkpoint(shardA, sequence(last))
			})
		}
	}
}

// What a term of an earlier epoch wrote into Zuul's checkpoint, after the new
// stream was created and before any process had heard of it, is not a position
// of the new stream. What Zuul's own listener wrote there meanwhile is.
func TestCheckpointThatAnEarlierEpochWroteLate(t *testing.T) {
	for name, tc := range map[string]struct {
		python string
		want   gerritstream.SequenceNumber
	}{
		"ours":                  {"", ""},
		"Zuul's own listener's": {quoted(9), sequence(9)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store := cl.open(zookeeper.Config{})
			cl.setOrigin(0, 0)
			term := elect(t, store, shardA) // the stream was made long ago
			commit(t, term, step(shardA, 1, 2))
			resign(t, term)
			if tc.python != "" {
				cl.python(shardA, tc.python)
			}
			cl.setOrigin(1, 0)
			next, err := store.Campaign(soon(t), 1, shardA)
			if err != nil {
				t.Fatal(err)
			}
			begins(t, next, tc.want)
			cl.checkpoint(shardA, tc.want)
		})
	}
}
