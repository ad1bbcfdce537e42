package zookeeper_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// A request that the servers would close the connection on is refused before it
// is sent, and one that is a byte smaller is taken: of a single node and of a
// transaction.
func TestTooLargeIsRefusedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	term := elect(t, store, shardA)
	candidates := cl.children(cl.election(shardA))
	path := cl.own("/large")
	for name, write := range map[string]func(data []byte) error{
		"transaction": func(data []byte) error { return store.PutAll(soon(t), path+"1", path+"2", data) },
		"node":        func(data []byte) error { return store.Put(soon(t), path, data) },
	} {
		size := zookeeper.MaxBytes
		for _, other := range []string{path + "1", path + "2"} {
			size -= 48 + len(other)
		}
		size -= 17
		if name == "node" {
			size = zookeeper.MaxBytes - 17 - 48 - len(path)
		}
		if err := write(make([]byte, size+1)); !errors.Is(err, zookeeper.ErrTooLarge) {
			t.Errorf("%s: a byte too much returned %v", name, err)
		}
		if err := write(make([]byte, size)); err != nil {
			t.Errorf("%s: the largest one returned %v", name, err)
		}
	}
	commit(t, term, step(shardA, 1, 1))
	if now := cl.children(cl.election(shardA)); len(now) != 1 || now[0] != candidates[0] {
		t.Errorf("the candidates were %q and are %q", candidates, now)
	}
}

// Dead letters whose texts take six bytes for each character are committed, as
// many as the limits allow; so is one with endless texts.
func TestDeadLettersWithTextsThatGrow(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	term := elect(t, cl.open(zookeeper.Config{}), shardA)
	var deadLetters []gerritstream.DeadLetter
	for n := range term.Limits().Items {
		d := deadLetter(shardA, n+1)
		d.Payload = make([]byte, 4_000)
		d.Detail = strings.Repeat("<", term.Limits().Weight/term.Limits().Items-len(d.Payload)-512)
		deadLetters = append(deadLetters, d)
	}
	commit(t, term, gerritstream.Commit{Position: after(len(deadLetters)), DeadLetters: deadLetters})
	d := deadLetter(shardA, len(deadLetters)+1)
	d.Reason, d.Detail = strings.Repeat("<", 2<<20), strings.Repeat("\x00", 2<<20)
	commit(t, term, gerritstream.Commit{Position: after(len(deadLetters) + 1),
		DeadLetters: []gerritstream.DeadLetter{d}})
	if got := cl.deadLetters(); len(got) != len(deadLetters)+1 {
		t.Errorf("%d dead letters are held, want %d", len(got), len(deadLetters)+1)
	}
}

// A commit that does not fit ends its term, and is not sent again and again.
func TestACommitThatDoesNotFitIsAnError(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	term := elect(t, cl.open(zookeeper.Config{}), shardA)
	c := step(shardA, 1, 1)
	for range 5_000 {
		c.Position.Lost = append(c.Position.Lost, gerritstream.Interval{Why: strings.Repeat("<", 100)})
	}
	if err := term.Commit(soon(t), c); !errors.Is(err, zookeeper.ErrTooLarge) ||
		errors.Is(err, gerritstream.ErrRetryLater) {
		t.Errorf("commit returned %v", err)
	}
	ended(t, term)
	cl.queued()
}
