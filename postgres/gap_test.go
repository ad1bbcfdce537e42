package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/postgres"
)

// heldOpen is an advisory lock that a test takes to hold commits open.
const heldOpen = 4711

// holdCommits has commits to a shard wait, once their transactions have taken
// their numbers and before they end, while the lock is taken.
func (s *shared) holdCommits(shard gerritstream.ShardID) {
	s.t.Helper()
	s.exec(fmt.Sprintf(`CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF new.shard = '%s' THEN PERFORM pg_advisory_xact_lock_shared(%d); END IF;
		RETURN new;
	END $$`, shard, heldOpen))
	s.exec(`CREATE TRIGGER hold AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION hold()`)
}

// reader reads the queue as programs do: what comes after the last number.
type reader struct {
	s    *shared
	last int64
	seen []string
}

func (r *reader) read() {
	r.s.each(fmt.Sprintf(`SELECT n, shard || '/' || seq FROM events WHERE n > %d ORDER BY n`, r.last),
		func(rows pgx.Rows) error {
			var event string
			err := rows.Scan(&r.last, &event)
			r.seen = append(r.seen, event)
			return err
		})
}

// While one commit is held open with its numbers, others do not become visible
// with higher ones: a reader that asks for what comes after the last number it
// has read never passes over an event (the outbox gap). It does not matter
// whether the others are of the same process.
func TestReadersNeverPassOverANumber(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	first, second := s.open(), s.open()
	s.holdCommits(shardA)
	terms := map[gerritstream.ShardID]gerritstream.Term{
		shardA: elect(t, first, shardA), shardB: elect(t, second, shardB), "shardId-2": elect(t, first, "shardId-2"),
	}
	lock, err := pgx.ConnectConfig(within(t), s.raw.Config().ConnConfig)
	must(t, err)
	defer lock.Close(context.Background())
	_, err = lock.Exec(within(t), `SELECT pg_advisory_lock($1)`, heldOpen)
	must(t, err)

	var commits sync.WaitGroup
	commit := func(shard gerritstream.ShardID) {
		commits.Go(func() {
			if err := terms[shard].Commit(within(t), commitOf("1", entry(shard, "1", 10))); err != nil {
				t.Error(err)
			}
		})
	}
	r := &reader{s: s}
	commit(shardA)
	eventually(t, "the first commit is held open", s.waiting(1))
	commit(shardB)
	commit("shardId-2")
	// Whether the others wait, as they should, or have gone on, as they must
	// not: a reader comes by, and then the first one ends.
	deadline := time.Now().Add(2 * time.Second)
	for !s.waiting(3)() && len(r.seen) == 0 && time.Now().Before(deadline) {
		r.read()
	}
	r.read()
	must(t, func() error { _, err := lock.Exec(within(t), `SELECT pg_advisory_unlock($1)`, heldOpen); return err }())
	commits.Wait()
	r.read()
	if len(r.seen) != 3 {
		t.Errorf("a reader that followed has read %q, want an event of each of three shards", r.seen)
	}
}

// Numbers are in the order of the commits also when many processes commit at
// once: a reader that follows reads each event once.
func TestManyProcessesAndAReaderThatFollows(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	const processes, shards, commits = 3, 2, 20
	var writing sync.WaitGroup
	for p := range processes {
		store := s.openWith(postgres.Config{LeaseTTL: time.Minute})
		for i := range shards {
			shard := gerritstream.ShardID(fmt.Sprintf("shardId-%d-%d", p, i))
			term := elect(t, store, shard)
			writing.Go(func() {
				for n := range commits {
					seq := gerritstream.SequenceNumber(fmt.Sprint(n + 1))
					if err := term.Commit(within(t), commitOf(seq, entry(shard, seq, 100))); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	done := make(chan struct{})
	go func() {
		writing.Wait()
		close(done)
	}()
	r := &reader{s: s}
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		r.read()
	}
	seen := map[string]bool{}
	for _, event := range r.seen {
		seen[event] = true
	}
	if want := processes * shards * commits; len(r.seen) != want || len(seen) != want {
		t.Errorf("a reader that followed has read %d events, %d of them different, want %d",
			len(r.seen), len(seen), want)
	}
}

// count returns what a query counts.
func (s *shared) count(query string) (n int) {
	s.t.Helper()
	must(s.t, s.raw.QueryRow(context.Background(), query).Scan(&n))
	return n
}

// waiting reports whether so many transactions on the schema wait for a lock.
func (s *shared) waiting(n int) func() bool {
	return func() bool {
		return s.count(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
			AND query LIKE '%"`+s.schema+`".%' AND pid <> pg_backend_pid()`) >= n
	}
}
