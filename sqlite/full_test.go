package sqlite_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

func entry(shard gerritstream.ShardID, seq gerritstream.SequenceNumber, size int) gerritstream.Entry {
	return gerritstream.Entry{
		ID:    gerritstream.NewEventID(gerritstream.Stream{}, shard, seq, gerritstream.NoSub),
		Shard: shard, Seq: seq, Sub: gerritstream.NoSub, Payload: make([]byte, size),
	}
}

// commitOf is the commit of a position and entries.
func commitOf(seq gerritstream.SequenceNumber, entries ...gerritstream.Entry) gerritstream.Commit {
	return gerritstream.Commit{Position: position(seq), Entries: entries}
}

// A full disk delays commits and ends no leadership. Commits that need no room
// succeed meanwhile.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := s.open()
		a, b := elect(t, store, shardA), elect(t, store, shardB)
		must(t, a.Commit(t.Context(), commitOf("1")))
		must(t, b.Commit(t.Context(), commitOf("1")))
		must(t, store.Exec(`PRAGMA max_page_count = 1`)) // SQLite takes the size that the file has

		large := commitOf("2", entry(shardA, "2", 1<<20))
		for range 10 {
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := a.Commit(t.Context(), large); !errors.Is(err, gerritstream.ErrRetryLater) {
					t.Errorf("commit to a full disk returned %v", err)
				}
			})
			wg.Go(func() {
				if err := b.Commit(t.Context(), commitOf("2")); err != nil {
					t.Errorf("commit beside it returned %v", err)
				}
			})
			wg.Wait()
			wait(t, time.Second)
		}
		if a.Context().Err() != nil {
			t.Fatalf("the term ended: %v", context.Cause(a.Context()))
		}
		positions, err := store.Positions(t.Context(), 0)
		if pos := positions[shardA]; err != nil || pos.After != "1" || len(s.entries()) != 0 {
			t.Errorf("position %+v, %d entries after refused commits, %v", pos, len(s.entries()), err)
		}
		must(t, store.Exec(`PRAGMA max_page_count = 1000000`))
		must(t, a.Commit(t.Context(), large))
		if n := len(s.entries()); n != 1 {
			t.Errorf("%d entries, want 1", n)
		}
	})
}

// wait lets time pass in the bubble.
func wait(t *testing.T, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}

// A process that cannot write says so when it is asked for what is stored, once
// it has lost its leaderships by that; another one, which only looks, is told.
func TestInspectOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := s.open()
		elect(t, store, shardA)
		must(t, store.Exec(`CREATE TRIGGER full BEFORE UPDATE ON processes BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`))
		wait(t, time.Second)
		if _, err := store.Inspect(t.Context()); err != nil {
			t.Errorf("it may pass: %v", err)
		}
		wait(t, time.Minute)
		if _, err := store.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "heartbeat: ") {
			t.Errorf("got %v", err)
		}
		if _, err := sqlite.Inspect(t.Context(), s.path); err != nil {
			t.Errorf("a reader gets %v", err)
		}
		must(t, store.Exec(`DROP TRIGGER full`))
		wait(t, 10*time.Second)
		if _, err := store.Inspect(t.Context()); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}
