package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

func deadLetter(seq gerritstream.SequenceNumber, size int) gerritstream.DeadLetter {
	return gerritstream.DeadLetter{
		ID:    gerritstream.NewEventID(gerritstream.Stream{}, shardA, seq, gerritstream.NoSub),
		Shard: shardA, Seq: seq, Sub: gerritstream.NoSub, Payload: make([]byte, size), Length: size,
	}
}

// Dead letters are kept up to 32 MiB of payload, whatever their number. Where
// one has no room, a shorter one may have.
func TestDeadLettersAreBoundedByTheirBytes(t *testing.T) {
	s := newShared(t)
	store := s.open()
	term := elect(t, store, shardA)
	s.exec(`INSERT INTO dead_letters (id, shard, seq, sub, arrived, reason, detail, payload, length, sha256, put_aside_at)
		VALUES (randomblob(16), 's', '1', -1, 0, '', '', zeroblob(33554432 - 1000), 1, zeroblob(32), 0)`)
	for i, tc := range []struct {
		size            int
		held, discarded int64
	}{{1001, 1, 1}, {900, 2, 1}, {101, 2, 2}, {100, 3, 2}, {1, 3, 3}} {
		seq := gerritstream.SequenceNumber(fmt.Sprint(i + 1))
		must(t, term.Commit(t.Context(), gerritstream.Commit{
			Position: position(seq), DeadLetters: []gerritstream.DeadLetter{deadLetter(seq, tc.size)},
		}))
		in, err := store.Inspect(t.Context())
		must(t, err)
		if in.DeadLetters != tc.held || in.Discarded != tc.discarded {
			t.Errorf("after one of %d bytes %d are held and %d discarded, want %d and %d",
				tc.size, in.DeadLetters, in.Discarded, tc.held, tc.discarded)
		}
	}
}

// A commit that shares a transaction with one that fails is written again. The
// dead letters that it has no room for are counted and logged once.
func TestDiscardedDeadLettersAreCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		var log recorder
		store := openWith(t, sqlite.Config{Path: s.path, Logger: log.logger()})
		a, b := elect(t, store, shardA), elect(t, store, shardB)
		must(t, a.Commit(t.Context(), commitOf("1")))
		must(t, b.Commit(t.Context(), commitOf("1")))
		s.exec(`WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000)
			INSERT INTO dead_letters (id, shard, seq, sub, arrived, reason, detail, payload, length, sha256, put_aside_at)
			SELECT randomblob(16), 's', n, -1, 0, '', '', x'', 0, zeroblob(32), 0 FROM n`)
		must(t, store.Exec(`PRAGMA max_page_count = 1`)) // SQLite takes the size that the file has

		release := store.Hold()
		var both sync.WaitGroup
		both.Go(func() {
			err := a.Commit(t.Context(), gerritstream.Commit{
				Position: position("2"), DeadLetters: []gerritstream.DeadLetter{deadLetter("2", 10),
					deadLetter("3", 10)},
			})
			if err != nil {
				t.Errorf("the commit with dead letters returned %v", err)
			}
		})
		synctest.Wait()
		both.Go(func() {
			err := b.Commit(t.Context(), commitOf("2", entry(shardB, "2", 1<<20)))
			if !errors.Is(err, gerritstream.ErrRetryLater) {
				t.Errorf("the commit without room returned %v", err)
			}
		})
		synctest.Wait()
		release()
		both.Wait()
		in, err := store.Inspect(t.Context())
		must(t, err)
		warnings := strings.Count(log.String(), "no room for dead letters")
		if in.Discarded != 2 || warnings != 1 || !strings.Contains(log.String(), "count=2 ") {
			t.Errorf("%d discarded, %d warnings, want 2 and 1, which counts both:\n%s", in.Discarded, warnings, &log)
		}
	})
}

// A commit beyond the limits is refused before anything is written; one of a
// single item is always within them.
func TestCommitLimits(t *testing.T) {
	entries := func(n, size int) (list []gerritstream.Entry) {
		for i := range n {
			list = append(list, entry(shardA, gerritstream.SequenceNumber(fmt.Sprint(i+1)), size))
		}
		return list
	}
	for name, tc := range map[string]struct {
		entries []gerritstream.Entry
		dead    int
		refused bool
	}{
		"as many as may be":     {entries(499, 1), 1, false},
		"one too many":          {entries(500, 1), 1, true},
		"one that is large":     {entries(1, 5<<20), 0, false},
		"two that are too much": {entries(2, 2<<20), 0, true},
		"two that fit":          {entries(2, 2<<20-512), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShared(t)
			term := elect(t, s.open(), shardA)
			c := gerritstream.Commit{Position: position("1000"), Entries: tc.entries}
			for range tc.dead {
				c.DeadLetters = append(c.DeadLetters, deadLetter("1000", 1))
			}
			err := term.Commit(t.Context(), c)
			if refused := err != nil; refused != tc.refused || errors.Is(err, gerritstream.ErrRetryLater) {
				t.Errorf("commit returned %v", err)
			}
			want := len(tc.entries)
			if tc.refused {
				want = 0
			}
			if n := len(s.entries()); n != want {
				t.Errorf("%d entries, want %d", n, want)
			}
		})
	}
}

// A caller whose context ends waits for a commit that has begun, because the
// commit reads the caller's bytes.
func TestACommitThatHasBegunIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := openWith(t, sqlite.Config{Path: s.path, LeaseTTL: time.Hour})
		begun, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			done <- store.Do(ctx, func() {
				close(begun)
				<-release
			})
		}()
		<-begun
		cancel()
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("it returned %v while it was written", err)
			close(release)
			return
		default:
		}
		close(release)
		if err := <-done; err != nil {
			t.Errorf("what was written returned %v", err)
		}
	})
}

// When the disk fails in a COMMIT, the outcome is unknown: the term ends, the
// commit is not retried, and the next term begins with what is stored.
func TestCommitOnAFailingDisk(t *testing.T) { ends(t, play(t, "failing disk", inFolder(t))) }

func init() { roles["failing disk"] = failingDisk }

// failingDisk has the kernel refuse to let any file grow, with an error that is
// not "full".
func failingDisk(path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := sqlite.Open(ctx, sqlite.Config{Path: path, LeaseTTL: time.Minute}) // no heartbeat meets the failure
	if err != nil {
		return err
	}
	defer func() { _ = store.Close(ctx) }()
	term, err := store.Campaign(ctx, 0, shardA)
	if err != nil {
		return err
	}
	if err := term.Commit(ctx, commitOf("1")); err != nil {
		return err
	}
	info, err := os.Stat(path + "-wal")
	if err != nil {
		return err
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE,
		&syscall.Rlimit{Cur: uint64(info.Size()), Max: was.Max}); err != nil {
		return err
	}
	err = term.Commit(ctx, commitOf("2", entry(shardA, "2", 100)))
	if err == nil || errors.Is(err, gerritstream.ErrRetryLater) || term.Context().Err() == nil {
		return fmt.Errorf("the commit returned %w; the term ended: %v", err, term.Context().Err() != nil)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if term, err = store.Campaign(ctx, 0, shardA); err != nil {
		return err
	}
	if pos := term.Beginning().Position; pos.After != "1" && pos.After != "2" {
		return fmt.Errorf("the next term begins at %v", pos)
	}
	return term.Commit(ctx, commitOf("3"))
}
