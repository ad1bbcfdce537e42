package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/postgres"
)

// takeHeldOpen takes the lock that holds commits open, and returns what frees
// it.
func (s *shared) takeHeldOpen() (free func()) {
	s.t.Helper()
	lock, err := pgx.ConnectConfig(within(s.t), s.raw.Config().ConnConfig)
	must(s.t, err)
	s.t.Cleanup(func() { _ = lock.Close(context.Background()) })
	_, err = lock.Exec(within(s.t), `SELECT pg_advisory_lock($1)`, heldOpen)
	must(s.t, err)
	return func() {
		s.t.Helper()
		_, err := lock.Exec(within(s.t), `SELECT pg_advisory_unlock($1)`, heldOpen)
		must(s.t, err)
	}
}

// Once an origin of a later epoch is stored, no commit of the epoch before is
// written: SetOrigin waits for one that has read the old epoch.
func TestSetOriginWaitsForCommits(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.openWith(postgres.Config{LeaseTTL: patience})
	origin := gerritstream.Origin{Stream: gerritstream.Stream{ARN: "arn", Created: time.Unix(1, 0).UTC()},
		From: gerritstream.StartingPosition{TrimHorizon: true}}
	must(t, store.SetOrigin(within(t), nil, origin))
	term := elect(t, store, shardA)
	s.holdCommits(shardA)
	free := s.takeHeldOpen()
	committed, set := make(chan error, 1), make(chan error, 1)
	go func() { committed <- term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))) }()
	eventually(t, "the commit is held open", s.waiting(1))
	later := origin
	later.Epoch++
	go func() { set <- store.SetOrigin(within(t), &origin, later) }()
	eventually(t, "the new origin waits, or is stored", func() bool { return s.waiting(2)() || len(set) > 0 })
	if len(set) > 0 {
		t.Error("the epoch was over while a commit of it was under way")
	}
	free()
	must(t, <-committed)
	must(t, <-set)
	if err := term.Commit(within(t), commitOf("2", entry(shardA, "2", 10))); err == nil {
		t.Error("a commit of the epoch before was written")
	}
	s.hasQueued("1")
}

// PostgreSQL's text has no NUL, and is in UTF-8. An event is queued all the
// same; its payload has every byte.
func TestTextThatCannotBeStored(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	term := elect(t, s.openWith(postgres.Config{LeaseTTL: patience}), shardA)
	e := entry(shardA, "1", 10)
	e.Payload = []byte("a\x00b\xff")
	e.Event = gerritstream.Event{
		Type: "a\x00b", Project: "c\xff", Ref: "\x00", Attributes: map[string]string{"k": "v\x00\xff"},
	}
	d := gerritstream.DeadLetter{
		ID: gerritstream.EventID{1}, Shard: shardA, Seq: "2", Reason: "r\x00", Detail: "d\xff\x00",
		Payload: []byte{0, 255},
	}
	c := commitOf("2", e)
	c.DeadLetters = []gerritstream.DeadLetter{d}
	must(t, term.Commit(within(t), c))
	if n := s.count(`SELECT count(*) FROM events WHERE type = U&'a\FFFDb' AND project = U&'c\FFFD'
		AND payload = '\x610062ff'`); n != 1 {
		t.Error("the event is not queued as it should be")
	}
	if n := s.count(`SELECT count(*) FROM dead_letters WHERE payload = '\x00ff'`); n != 1 {
		t.Error("the dead letter is not held")
	}
}

// A process that is paused in the middle of a commit holds no lock: everything
// from BEGIN to COMMIT is in one message.
func TestNoTransactionWaitsForTheProcess(t *testing.T) {
	t.Parallel()
	s, link := newLinked(t)
	store := s.openWith(postgres.Config{LeaseTTL: patience})
	term := elect(t, store, shardA)
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	requests := 0
	var all strings.Builder
	link.LoseNextReply(func(request []byte) bool {
		if strings.Contains(string(request), "the marked one") {
			requests++
			all.Write(request)
		}
		return false
	})
	must(t, term.Commit(within(t), commitOf("2", markedEntry("2", "the marked one"))))
	// The library calls a statement that it has prepared so: BEGIN, the events
	// with the fence, COMMIT.
	if n := strings.Count(all.String(), "stmtcache_"); requests != 1 || n != 3 {
		t.Errorf("the commit was %d requests with %d statements", requests, n)
	}
	s.hasQueued("1", "2")
}

// Events that are queued already are not queued again, and those beside them
// are: with and without dead letters, and whether or not such events were met
// just before.
func TestRepeatedEvents(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	term := elect(t, s.openWith(postgres.Config{LeaseTTL: patience}), shardA)
	commit := func(dead int, seqs ...gerritstream.SequenceNumber) {
		t.Helper()
		c := commitOf(seqs[len(seqs)-1])
		for _, seq := range seqs {
			c.Entries = append(c.Entries, entry(shardA, seq, 10))
		}
		for i := range dead {
			seq := gerritstream.SequenceNumber(fmt.Sprint(100 + i))
			c.DeadLetters = append(c.DeadLetters, gerritstream.DeadLetter{
				ID:    gerritstream.NewEventID(gerritstream.Stream{}, shardA, seq, gerritstream.NoSub),
				Shard: shardA, Seq: seq, Sub: gerritstream.NoSub, Reason: "json", Payload: []byte("x"),
			})
		}
		must(t, term.Commit(within(t), c))
	}
	commit(0, "1", "2")
	commit(1, "1", "2", "3")
	commit(2, "3", "4", "4")
	commit(0, "2", "5")
	s.hasQueued("1", "2", "3", "4", "5")
	if n := s.count(`SELECT count(*) FROM dead_letters`); n != 2 {
		t.Errorf("%d dead letters are held", n)
	}
}
