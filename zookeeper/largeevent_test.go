package zookeeper_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// large is the commit of one event that fills two chunks.
func large(n int) gerritstream.Commit {
	return gerritstream.Commit{Position: after(n), Entries: []gerritstream.Entry{event(shardA, n, 2_000_000)}}
}

// What a process leaves that dies between the steps of a large event is removed
// by the next term.
func TestKilledWithinALargeEvent(t *testing.T) {
	for _, at := range []string{"/intents/", "/events/data/", "/0000000000", "/0000000001", "event_data_path"} {
		t.Run(strings.Trim(at, "/"), func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store, link := cl.linkedFor(brief)
			term := elect(t, store, shardA)
			link.LoseNextRequest(func(b []byte) bool {
				if request(opMulti, at)(b) {
					store.Kill()
				}
				return false
			})
			if err := term.Commit(soon(t), large(1)); err == nil {
				t.Fatal("a dead process committed")
			}
			next := elect(t, cl.open(zookeeper.Config{}), shardA)
			queued := len(cl.entries()) // the last request may have come through
			cl.noLargeEvents(queued)
			if ok := next.Beginning().Stored; ok != (queued == 1) || queued == 1 && at != "event_data_path" {
				t.Errorf("%d events are queued, the next term has a position: %v", queued, ok)
			}
			if queued == 0 {
				commit(t, next, large(1))
			}
			cl.queued(large(1).Entries...)
			cl.noLargeEvents(1)
		})
	}
}

// The same for leaderships that are lost between the steps, fifty times.
func TestDeposedWithinALargeEvent(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store, link := cl.linked()
	c := large(1)
	steps := []string{"/intents/", "/events/data/", "/0000000000", "/intents/", "/events/data/", "/0000000001"}
	for round := range 50 {
		term := elect(t, store, shardA)
		cl.noLargeEvents(0)
		var deposed atomic.Bool
		link.LoseNextRequest(func(b []byte) bool {
			if request(opMulti, steps[round%len(steps)])(b) && deposed.CompareAndSwap(false, true) {
				cl.expire(shardA)
			}
			return false
		})
		if err := term.Commit(soon(t), c); !errors.Is(err, gerritstream.ErrLeadershipLost) {
			t.Fatalf("commit of a deposed leader returned %v", err)
		}
		resign(t, term)
	}
	elect(t, store, shardA)
	cl.noLargeEvents(0)
	cl.queued()
}

// What an intent names is removed, and nothing else, whatever its data is.
func TestIntents(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	resign(t, elect(t, store, shardA))
	const left, others = "0f9f1a38-7c39-4dbb-8a36-a5b27ad3c0c1", "1f9f1a38-7c39-4dbb-8a36-a5b27ad3c0c1"
	for _, id := range []string{left, others} {
		for chunk := range 3 {
			cl.put(cl.zuul(fmt.Sprintf("/events/data/%s/%010d", id, chunk)), []byte("chunk"))
		}
	}
	for _, intent := range []string{left, left, "", "../queue", "garbage\x00", others[:35]} {
		cl.put(cl.own("/intents/"+string(shardA)), []byte(intent))
		resign(t, elect(t, store, shardA))
		if names := cl.children(cl.zuul("/events/data")); len(names) != 1 || names[0] != others {
			t.Errorf("intent %q: large events %q", intent, names)
		}
		if names := cl.children(cl.own("/intents")); len(names) != 0 {
			t.Errorf("intent %q was not removed", intent)
		}
	}
}

// A Zuul with an old component gets no event that it could not read, but a dead
// letter.
func TestLargeEventAndAnOldComponent(t *testing.T) {
	for name, tc := range map[string]struct {
		components map[string]string
		deadLetter bool
	}{
		"no components": {nil, false},
		"new ones": {map[string]string{"scheduler/a": `{"model_api": 31}`, "web/b": `{"model_api": 35}`},
			false},
		"one old one": {map[string]string{"scheduler/a": `{"model_api": 34}`,
			"executor/b": `{"model_api": 30}`}, true},
		"one without a version": {map[string]string{"scheduler/a": `{"hostname": "x"}`}, true},
		"garbage":               {map[string]string{"scheduler/a": `{`, "merger/b": ``}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			for path, data := range tc.components {
				cl.put(cl.chroot+"/zuul/components/"+path, []byte(data))
			}
			term := elect(t, cl.open(zookeeper.Config{}), shardA)
			c := large(1)
			commit(t, term, c)
			commit(t, term, step(shardA, 2, 2)) // one that fits is none of its business
			want := append(c.Entries, events(shardA, 2, 2)...)
			deadLetters := cl.deadLetters()
			if tc.deadLetter {
				want = want[1:]
				if len(deadLetters) != 1 || deadLetters[0].Reason != zookeeper.ReasonTooLarge ||
					deadLetters[0].ID != c.Entries[0].ID ||
					deadLetters[0].Length != len(c.Entries[0].Payload) ||
					len(deadLetters[0].Payload) != gerritstream.MaxDeadLetterBytes {
					t.Errorf("dead letters: %.300v", deadLetters)
				}
			} else if len(deadLetters) != 0 {
				t.Errorf("dead letters: %.300v", deadLetters)
			}
			cl.queued(want...)
			cl.noLargeEvents(len(want) - 1)
			cl.checkpoint(shardA, sequence(2))
		})
	}
}

// Events of every size around the bounds are queued, in order.
func TestSizes(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	term := elect(t, cl.open(zookeeper.Config{}), shardA)
	var want []gerritstream.Entry
	for i, size := range []int{300, 599_000, 601_000, 880_000, 883_000, 884_000, 899_000, 901_000, 999_000, 1_000_000,
		1_048_576, 10 << 20} {
		e := event(shardA, i+1, min(size, 3<<20))
		// The largest record. Noise would take time.
		e.Payload = append(e.Payload, bytes.Repeat([]byte(" "), size-len(e.Payload))...)
		want = append(want, e)
		commit(t, term, gerritstream.Commit{Position: after(i + 1), Entries: []gerritstream.Entry{e}})
	}
	cl.queued(want...)
}

// At its limit the queue takes no events, but everything else is committed;
// below four fifths it takes events again.
func TestQueueLimit(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{QueueLimit: 20, Logger: slog.New(slog.DiscardHandler)})
	term := elect(t, store, shardA)
	n := 0
	for err := error(nil); err == nil; n++ {
		if n > 20 {
			t.Fatal("the queue has no limit")
		}
		err = term.Commit(soon(t), step(shardA, n+1, n+1))
		if err != nil && !errors.Is(err, gerritstream.ErrRetryLater) {
			t.Fatal(err)
		}
		if err != nil && !strings.Contains(err.Error(), "queue is full (20 of 20)") {
			t.Errorf("commit to a full queue returned %q", err)
		}
	}
	full := cl.children(cl.zuul("/events/queue"))
	if len(full) != 20 {
		t.Errorf("the queue holds %d events", len(full))
	}
	commit(t, term, gerritstream.Commit{
		Position: after(20), DeadLetters: []gerritstream.DeadLetter{deadLetter(shardA, 20)},
	})

	for _, name := range full[:3] { // 17 are left: more than four fifths
		cl.remove(cl.zuul("/events/queue/" + name))
	}
	if err := term.Commit(soon(t), step(shardA, 21, 21)); !errors.Is(err, gerritstream.ErrRetryLater) {
		t.Errorf("commit to a queue that has not emptied enough returned %v", err)
	}
	cl.remove(cl.zuul("/events/queue/" + full[3]))
	eventually(t, "the queue takes events again", func() bool {
		return term.Commit(soon(t), step(shardA, 21, 21)) == nil
	})
	if term.Context().Err() != nil {
		t.Error("the term ended")
	}
}

// Two processes see each other's events: the limit is that of the queue.
func TestQueueLimitCountsEverybody(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	a, b := cl.open(zookeeper.Config{QueueLimit: 10}), cl.open(zookeeper.Config{QueueLimit: 10})
	term, other := elect(t, a, shardA), elect(t, b, shardB)
	commit(t, other, step(shardB, 1, 1)) // b has looked
	commit(t, term, step(shardA, 1, 9))
	deadline := time.Now().Add(patience)
	n := 1
	for ; time.Now().Before(deadline); n++ {
		if err := other.Commit(soon(t), step(shardB, n+1, n+1)); errors.Is(err, gerritstream.ErrRetryLater) {
			break
		}
	}
	if n > 12 {
		t.Errorf("the other process queued %d events more", n)
	}
}
