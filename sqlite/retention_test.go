package sqlite_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// Events go when their time is over, not before, and are counted; dead letters stay.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := openWith(t, sqlite.Config{Path: s.path, Retention: time.Hour, LeaseTTL: 10 * time.Minute})
		term := elect(t, store, shardA)
		old := 0
		for i := range 3 {
			c := gerritstream.Commit{Position: position(gerritstream.SequenceNumber(fmt.Sprint(i + 1)))}
			for range 400 {
				old++
				c.Entries = append(c.Entries, entry(shardA, gerritstream.SequenceNumber(fmt.Sprint(old)), 10))
			}
			must(t, term.Commit(t.Context(), c))
		}
		wait(t, 50*time.Minute)
		must(t, term.Commit(t.Context(), gerritstream.Commit{
			Position:    position("9"),
			Entries:     []gerritstream.Entry{entry(shardA, "99999", 10)},
			DeadLetters: []gerritstream.DeadLetter{{ID: gerritstream.EventID{1}, Shard: shardA, Seq: "9"}},
		}))
		check := func(queue, expired int64) {
			t.Helper()
			in, err := store.Inspect(t.Context())
			must(t, err)
			if in.Queue != queue || in.Expired != expired || in.DeadLetters != 1 {
				t.Errorf("%d events held, %d expired, %d dead letters, want %d, %d, 1", in.Queue, in.Expired, in.DeadLetters, queue, expired)
			}
		}
		check(1201, 0)
		wait(t, 15*time.Minute)
		check(1, 1200)
		wait(t, time.Hour)
		check(0, 1201)
	})
}

// Numbers do not come twice, not even after the newest events were removed: a reader's place stays valid.
func TestNumbersAreNotReused(t *testing.T) {
	s := newShared(t)
	store := s.open()
	term := elect(t, store, shardA)
	must(t, term.Commit(t.Context(), gerritstream.Commit{Position: position("1"), Entries: []gerritstream.Entry{entry(shardA, "1", 1)}}))
	n, err := store.RemoveExpired(time.Now().Add(time.Hour))
	must(t, err)
	if n != 1 {
		t.Errorf("%d removed, want 1", n)
	}
	must(t, term.Commit(t.Context(), gerritstream.Commit{Position: position("2"), Entries: []gerritstream.Entry{entry(shardA, "2", 1)}}))
	reader, err := sqlite.OpenReader(t.Context(), s.path)
	must(t, err)
	defer reader.Close()
	for e, err := range reader.Events(t.Context(), 0) {
		must(t, err)
		if e.Number != 2 || e.Seq != "2" {
			t.Errorf("event %s has number %d, want 2", e.Seq, e.Number)
		}
	}
}
