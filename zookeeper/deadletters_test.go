package zookeeper_test

import (
	"log/slog"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// A stream of nothing but bad records: dead letters without room are counted,
// each once, however many are held already. Held ones that come again are not
// counted, events pass as ever, and the operator sees what is held.
func TestManyDeadLetters(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{Logger: slog.New(slog.DiscardHandler)})
	term := elect(t, store, shardA)
	const held, many, each = 1000, 3000, 100
	deadLetters := func(first int) (deadLetters []gerritstream.DeadLetter) {
		for n := first; n < first+each; n++ {
			deadLetters = append(deadLetters, deadLetter(shardA, n))
		}
		return deadLetters
	}
	counted := func(want int64) {
		t.Helper()
		in, err := store.Inspect(soon(t))
		if err != nil || in.DeadLetters != held || in.Discarded != want {
			t.Errorf("%d dead letters held and %d counted, %v; want %d and %d", in.DeadLetters, in.Discarded, err,
				held, want)
		}
	}
	for first := 1; first < many; first += each {
		commit(t, term, gerritstream.Commit{Position: after(first + each - 1), DeadLetters: deadLetters(first)})
	}
	counted(many - held)
	again := append(deadLetters(held - each/2 + 1)[:each/2], deadLetter(shardA, many+1)) // held, but for the last one
	c := step(shardA, many+2, many+3)
	c.DeadLetters = again
	commit(t, term, c)
	counted(many - held + 1)
	cl.queued(c.Entries...)
	seen, o := 0, cl.operator()
	defer func() {
		if err := o.Close(soon(t)); err != nil {
			t.Error(err)
		}
	}()
	for l, err := range o.DeadLetters(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if want := deadLetter(shardA, held-seen).ID; l.DeadLetter.ID != want {
			t.Fatalf("dead letter %d of the list is %s, want %s", seen, l.DeadLetter.ID, want)
		}
		seen++
	}
	if seen != held {
		t.Errorf("%d dead letters are listed", seen)
	}
}
