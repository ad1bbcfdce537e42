package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// The library may still send a commit whose caller has stopped waiting: its
// bytes are not used again.
func TestACommitUnderWayKeepsItsBytes(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store, link := cl.linked()
	a := elect(t, store, shardA)
	commit(t, a, step(shardA, 1, 1))
	others := map[gerritstream.ShardID]gerritstream.Term{} // several, for memory is pooled by processor
	for n := range 6 {
		shard := gerritstream.ShardID(fmt.Sprintf("shardId-%012d", n+1))
		others[shard] = elect(t, store, shard)
		commit(t, others[shard], step(shard, 1, 1))
	}
	link.Hold(peers.Both)
	link.Drop() // from here on the library queues what is asked until it is connected again
	eventually(t, "the connection is known to be lost", func() bool { return !store.Connected() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.Commit(ctx, step(shardA, 2, 9)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a commit without an answer returned %v", err)
	}
	done := make(chan error, len(others))
	for shard, term := range others {
		go func() { done <- term.Commit(soon(t), step(shard, 2, 9)) }()
	}
	eventually(t, "the other commits are under way", func() bool { return store.UnderWay() == len(others) })
	link.Restore()
	want := map[gerritstream.EventID]bool{}
	for _, e := range events(shardA, 1, 9) {
		want[e.ID] = true
	}
	for shard := range others {
		if err := receive(t, done); err != nil {
			t.Fatal(err)
		}
		for _, e := range events(shard, 1, 9) {
			want[e.ID] = true
		}
	}
	got := cl.entries()
	for _, e := range got {
		if !want[e.ID] {
			t.Errorf("%s is queued twice, or was never committed", e.ID)
		}
		delete(want, e.ID)
	}
	if n := len(got) - 9*len(others); n != 9 && n != 1 { // the first commit may have been carried out, as a whole
		t.Errorf("%d events are queued", len(got))
	}
}

// If a process dies while it removes an unfinished large event, the next term
// finds the rest by the intent.
func TestKilledWithinRemovingALargeEvent(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	resign(t, elect(t, cl.open(zookeeper.Config{}), shardA))
	const id = "0f9f1a38-7c39-4dbb-8a36-a5b27ad3c0c1"
	for chunk := range 3 {
		cl.put(cl.zuul(fmt.Sprintf("/events/data/%s/%010d", id, chunk)), []byte("chunk"))
	}
	cl.put(cl.own("/intents/"+string(shardA)), []byte(id))
	store, link := cl.linkedFor(brief)
	died := link.LoseNextRequest(func(b []byte) bool {
		if !request(opDelete, "/events/data/")(b) {
			return false
		}
		store.Kill()
		return true
	})
	if _, err := store.Campaign(soon(t), 0, shardA); err == nil {
		t.Error("a dead process won")
	}
	receive(t, died)
	elect(t, cl.open(zookeeper.Config{}), shardA)
	cl.noLargeEvents(0)
}

// full stores as many dead letters as are kept.
func (cl *cluster) full() {
	cl.t.Helper()
	const many = 1000
	cl.put(cl.own("/dead"), nil)
	ops := make([]any, many)
	for i := range ops {
		ops[i] = &zk.CreateRequest{Path: cl.own(fmt.Sprintf("/dead/other-%d", i)), Data: []byte("{}"),
			Acl: zk.WorldACL(zk.PermAll)}
	}
	if _, err := cl.raw.Multi(ops...); err != nil {
		cl.t.Fatal(err)
	}
}

// Dead letters without room are counted once, even if a reply is lost or their
// commit is sent again.
func TestDiscardedDeadLettersAreCountedOnce(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	cl.full()
	store, link := cl.linked()
	term := elect(t, store, shardA)
	n := 0
	for name, lose := range map[string]func(){
		"nothing":      func() {},
		"reply lost":   func() { link.LoseNextReply(request(opMulti, "/discarded/")) },
		"request lost": func() { link.LoseNextRequest(request(opMulti, "/discarded/")) },
	} {
		lose()
		n += 2
		c := gerritstream.Commit{Position: after(n), DeadLetters: []gerritstream.DeadLetter{deadLetter(shardA, n-1),
			deadLetter(shardA, n)}}
		commit(t, term, c)
		in, err := store.Inspect(soon(t))
		if err != nil || in.Discarded != int64(n) {
			t.Errorf("%s: %d are counted, %v; want %d", name, in.Discarded, err, n)
		}
	}
}

// Dead letters are kept up to a number of bytes, however few they are; beyond
// that they are only counted.
func TestDeadLettersAreKeptUpToABoundInBytes(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	term := elect(t, cl.open(zookeeper.Config{}), shardA)
	const bound, small = 32 << 20, 512 // with fewer dead letters the bound cannot be reached, and is not checked
	ops := make([]any, small)
	for i := range ops {
		ops[i] = &zk.CreateRequest{Path: cl.own(fmt.Sprintf("/dead/small-%d", i)), Data: []byte("{}"),
			Acl: zk.WorldACL(zk.PermAll)}
	}
	if _, err := cl.raw.Multi(ops...); err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 1_000_000)
	for i := range bound/750_000 - 1 {
		cl.put(cl.own(fmt.Sprintf("/dead/large-%d", i)), large)
	}
	held := len(cl.children(cl.own("/dead")))
	put := 0
	for put < 60 {
		deadLetters := make([]gerritstream.DeadLetter, 6)
		for i := range deadLetters {
			put++
			deadLetters[i] = deadLetter(shardA, put)
			deadLetters[i].Payload = make([]byte, gerritstream.MaxDeadLetterBytes)
		}
		commit(t, term, gerritstream.Commit{Position: after(put), DeadLetters: deadLetters})
	}
	kept := len(cl.children(cl.own("/dead"))) - held
	if discarded := string(cl.get(cl.own("/discarded/" + string(shardA)))); kept == 0 ||
		discarded != fmt.Sprint(put-kept) || kept > 30 {
		t.Errorf("%d of %d dead letters are kept, %q counted", kept, put, discarded)
	}
}

// Orphans are looked for now and then, not all the time.
func TestSweepsPause(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store, link := cl.linked()
	term := elect(t, store, shardA)
	sweeps := make(chan time.Time, 10_000)
	list := request(opList, string(shardA))
	link.LoseNextRequest(func(b []byte) bool {
		if list(b) {
			sweeps <- time.Now()
		}
		return false
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := term.Commit(ctx, step(shardA, 1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("commit returned %v", err)
	}
	var at []time.Time
	for len(at) < 3 {
		select {
		case now := <-sweeps:
			at = append(at, now)
		case <-time.After(patience):
			t.Fatalf("the candidates were listed %d times", len(at))
		}
	}
	if between := at[2].Sub(at[1]); between < time.Second {
		t.Errorf("the candidates were listed again after %v", between)
	}
}
