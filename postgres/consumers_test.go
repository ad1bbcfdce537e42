package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
)

// Nothing is left of consumers that were removed.
func TestNothingIsLeftOfARemovedConsumer(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.open()
	for i := range 3 {
		name := fmt.Sprint("job", i)
		must(t, store.Register(t.Context(), name, queue.Filter{}, 0))
		l, err := store.Lease(t.Context(), name)
		must(t, err)
		must(t, l.Release(t.Context()))
		must(t, store.Remove(t.Context(), name))
	}
	if _, err := store.Lease(t.Context(), "job0"); !errors.Is(err, queue.ErrNoConsumer) {
		t.Errorf("leased what is not there: %v", err)
	}
	var left int
	must(t, s.raw.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM leases) + (SELECT count(*) FROM candidates)
		+ (SELECT count(*) FROM consumers)`).Scan(&left))
	if left > 0 {
		t.Errorf("%d rows are left", left)
	}
}

// A process that was killed before the server's clock was set back does not
// hold up a consumer until the clock has caught up.
func TestAConsumerIsFreeAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	victim, store := s.open(), s.open()
	must(t, victim.Register(t.Context(), "a", queue.Filter{}, 0))
	_, err := victim.Lease(t.Context(), "a")
	must(t, err)
	if err := store.Seek(t.Context(), "a", 0); !errors.Is(err, queue.ErrHeld) {
		t.Errorf("sought while it is read: %v", err)
	}
	victim.Kill()
	victim.Reap()
	s.exec(`UPDATE processes SET beaten = beaten + interval '5 hours' WHERE id = $1`, victim.ID())
	infos, err := store.Consumers(t.Context())
	must(t, err)
	if len(infos) != 1 || infos[0].Reader != "" {
		t.Errorf("the consumers are %+v", infos)
	}
	must(t, store.Seek(t.Context(), "a", 0))
}

// A program that keeps the row of a consumer by itself may change it while a
// process reads as that: an acknowledgement adds to what is stored.
func TestAcknowledgementsAddToWhatOthersWrote(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.open()
	must(t, store.Register(t.Context(), "a", queue.Filter{}, 0))
	l, err := store.Lease(t.Context(), "a")
	must(t, err)
	must(t, l.Ack(t.Context(), queue.Set{UpTo: 2}))
	s.exec(`UPDATE consumers SET n = 5, beyond = '[[7,8]]'`)
	must(t, l.Ack(t.Context(), queue.Set{UpTo: 3, Beyond: []queue.Range{{First: 10, Last: 10}}}))
	infos, err := store.Consumers(t.Context())
	must(t, err)
	want := queue.Set{UpTo: 5, Beyond: []queue.Range{{First: 7, Last: 8}, {First: 10, Last: 10}}}
	if done := infos[0].Done(); done.UpTo != want.UpTo || !slices.Equal(done.Beyond, want.Beyond) {
		t.Errorf("acknowledged are %v, want %v", done, want)
	}
}

// What a consumer writes and reads goes through the end of its connections, by
// an operator or a fail-over: nothing is lost, and nothing done twice.
func TestAConsumerOutlivesItsConnections(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.open()
	term := elect(t, store, shardA)
	const events, trials = 100, 5
	c := gerritstream.Commit{Position: position("1")}
	for i := range events {
		c.Entries = append(c.Entries, entry(shardA, gerritstream.SequenceNumber(strconv.Itoa(i)), 100))
	}
	must(t, term.Commit(t.Context(), c))
	must(t, store.Register(t.Context(), "a", queue.Filter{}, 0))
	consumer, err := queue.Open(t.Context(), store, "a")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var killing sync.WaitGroup
	var killed atomic.Int64
	killing.Go(func() {
		for ctx.Err() == nil {
			var n int64
			// Only this schema's: other tests are on the same server.
			err := s.raw.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE pid <> pg_backend_pid() AND query LIKE '%' || $1 || '%' AND application_name = 'gerritstream'
					AND query ~ 'consumers|additions'`, s.schema).Scan(&n)
			if err != nil {
				t.Error(err)
			}
			killed.Add(n)
			<-time.After(10 * time.Millisecond)
		}
	})
	next := int64(1)
	for next <= events {
		before := killed.Load()
		page, err := consumer.Next(t.Context(), 4)
		must(t, err)
		for _, e := range page {
			if e.Number != next || e.Redelivered {
				t.Fatalf("event %d came, redelivered %v, want %d", e.Number, e.Redelivered, next)
			}
			next++
		}
		must(t, consumer.Ack(t.Context(), next-1))
		if before < trials {
			eventually(t, "a connection was ended", func() bool {
				if _, err := store.Consumers(t.Context()); !errors.Is(err, gerritstream.ErrRetryLater) {
					must(t, err)
				}
				return killed.Load() > before
			})
		}
	}
	cancel()
	killing.Wait()
	infos, err := store.Consumers(t.Context())
	must(t, err)
	if infos[0].Acked != events || infos[0].Pending != 0 {
		t.Errorf("the consumer is %+v", infos[0])
	}
	t.Logf("%d connections were ended", killed.Load())
}

// What is pending is right wherever in a long queue a consumer is. Far from the
// end, a filter does not count.
func TestPendingInALongQueue(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.open()
	r := rand.New(rand.NewPCG(1, 2))
	const length, window = 300_000, 100_000
	events := map[int64]bool{length: true} // by number: a filter keeps it
	for range 400 {
		events[r.Int64N(length-1)+1] = r.IntN(2) == 0
	}
	numbers := slices.Sorted(maps.Keys(events))
	kinds := make([]string, len(numbers))
	for i, n := range numbers {
		kinds[i] = fmt.Sprint(events[n])
	}
	s.exec(`INSERT INTO events (n, id, shard, seq, sub, arrived, type, project, ref, queued_at, payload)
		SELECT n, gen_random_uuid(), 's', '1', -1, 'epoch', kind, '', '', to_timestamp(n), ''
		FROM unnest($1::bigint[], $2::text[]) u (n, kind)`, numbers, kinds)
	type expectation struct {
		done          queue.Set
		count, oldest int64
	}
	want := map[string]expectation{}
	for i := range 60 {
		place := func() int64 { return numbers[r.IntN(len(numbers))] + r.Int64N(3) - 1 }
		done := queue.Set{UpTo: []int64{0, place(), length - r.Int64N(200), length}[i%4]}
		for range r.IntN(6) {
			first := place()
			last := first + r.Int64N(1<<r.IntN(18))
			done = done.Union(queue.Set{Beyond: []queue.Range{{First: first, Last: last}}})
		}
		name, e := fmt.Sprint(i), expectation{done: done}
		must(t, store.Register(t.Context(), name, queue.Filter{Types: [][]string{nil, {"true"}}[i%2]}, done.UpTo))
		s.exec(`UPDATE consumers SET beyond = nullif($1, '') WHERE name = $2`, queue.EncodeRanges(done.Beyond), name)
		for _, n := range numbers {
			ignored := i%2 == 0 || done.UpTo < length-window && n <= length-window
			if !done.Has(n) && (events[n] || ignored) {
				e.count++
			}
			if !done.Has(n) && (events[n] || i%2 == 0 || done.UpTo < length-window) && e.oldest == 0 {
				e.oldest = n
			}
		}
		want[name] = e
	}
	infos, err := store.Consumers(t.Context())
	must(t, err)
	for _, info := range infos {
		w := want[info.Name]
		if info.Pending != w.count || w.count > 0 && info.Oldest.Unix() != w.oldest {
			t.Errorf("%s: %d pending since %d, want %d since %d; done is %+v, the filter %v", info.Name, info.Pending,
				info.Oldest.Unix(), w.count, w.oldest, w.done, info.Filter)
		}
	}
}

// A reader that asks for what comes after the last number it has seen passes
// over nothing, though others commit and append at the same time: what has a
// smaller number can be read no later.
func TestAReaderPassesOverNothing(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	const each, writers = 60, 3
	must(t, s.open().Register(t.Context(), "a", queue.Filter{}, 0))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for w := range writers {
		store := s.open()
		shard := gerritstream.ShardID(fmt.Sprint("shard-", w))
		term := elect(t, store, shard)
		running.Go(func() {
			for i := range each {
				seq := gerritstream.SequenceNumber(strconv.Itoa(i + 1))
				if err := term.Commit(ctx, commitOf(seq, entry(shard, seq, 10))); err != nil {
					t.Error(err)
				}
			}
		})
		running.Go(func() {
			for i := range each {
				seq := gerritstream.SequenceNumber(strconv.Itoa(i + 1))
				n, err := store.Append(ctx, "a", []gerritstream.Entry{entry(shard+"+", seq, 10)})
				if err != nil || n != 1 {
					t.Errorf("appended %d: %v", n, err)
				}
			}
		})
	}
	reader := s.open()
	last := map[gerritstream.ShardID]int{}
	for after, n := int64(0), 0; n < 2*each*writers; {
		must(t, reader.Wait(ctx, "a", after))
		page, err := reader.Read(ctx, "a", after, 7)
		must(t, err)
		for _, e := range page {
			seq, err := strconv.Atoi(string(e.Entry.Seq))
			must(t, err)
			if e.Number <= after || seq != last[e.Entry.Shard]+1 {
				t.Fatalf("event %s of %s came after %d, and number %d after %d", e.Entry.Seq, e.Entry.Shard,
					last[e.Entry.Shard], e.Number, after)
			}
			after, last[e.Entry.Shard] = e.Number, seq
			n++
		}
	}
	running.Wait()
}

// A process reads the schema's queue without being one of those that lead, and
// removes nothing.
func TestOpenQueue(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	config := postgres.Config{URL: serverURL(t), Schema: s.schema, Retention: time.Minute}
	if q, err := postgres.OpenQueue(t.Context(), config); !errors.Is(err, gerritstream.ErrUnusable) {
		t.Errorf("a schema that is missing was opened: %v", err)
		must(t, q.Close(t.Context()))
	}
	store := s.open()
	must(t, elect(t, store, shardA).Commit(t.Context(), commitOf("1", entry(shardA, "1", 10))))
	q, err := postgres.OpenQueue(t.Context(), config)
	must(t, err)
	if events, err := q.Read(t.Context(), "a", 0, 10); err != nil || len(events) != 1 {
		t.Errorf("%d events, %v", len(events), err)
	}
	g, err := q.GroupState(t.Context(), nil)
	must(t, err)
	if len(g.Members) != 0 {
		t.Errorf("the members are %v", g.Members)
	}
	must(t, q.Close(t.Context()))
}

// blocked waits until a statement on the schema waits for a lock.
func (s *shared) blocked() {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		var n int
		must(s.t, s.raw.QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'`, s.schema).Scan(&n))
		if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("nothing waits for a lock")
		}
	}
}

// An acknowledgement that has begun as the consumer is taken away from a frozen
// process waits for that, and writes nothing, even if its place stays the same.
func TestALateAcknowledgementIsRefused(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.open()
	must(t, store.Register(t.Context(), "a", queue.Filter{}, 0))
	l, err := store.Lease(t.Context(), "a")
	must(t, err)
	must(t, l.Ack(t.Context(), queue.Set{UpTo: 5}))
	tx, err := s.raw.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	for _, statement := range []string{
		`UPDATE leases SET term = term + 1, process = '' WHERE shard = 'consumer:a'`, `UPDATE consumers SET n = n`,
	} {
		_, err := tx.Exec(t.Context(), statement)
		must(t, err)
	}
	acked := make(chan error, 1)
	go func() { acked <- l.Ack(t.Context(), queue.Set{UpTo: 6}) }()
	s.blocked()
	must(t, tx.Commit(t.Context()))
	if err := <-acked; !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("acknowledged without the lease: %v", err)
	}
	infos, err := store.Consumers(t.Context())
	must(t, err)
	if infos[0].Acked != 5 {
		t.Errorf("%d is acknowledged, want 5", infos[0].Acked)
	}
}

// A lease that is won while the consumer is moved begins where it was moved to.
func TestALeaseBeginsAtTheLastPlace(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.open()
	must(t, store.Register(t.Context(), "a", queue.Filter{}, 5))
	tx, err := s.raw.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `UPDATE consumers SET n = 2, handed = 2`)
	must(t, err)
	leased := make(chan queue.Lease, 1)
	go func() {
		l, err := store.Lease(t.Context(), "a")
		if err != nil {
			t.Error(err)
		}
		leased <- l
	}()
	s.blocked()
	must(t, tx.Commit(t.Context()))
	if l := <-leased; l != nil && l.Consumer().Acked != 2 {
		t.Errorf("the lease begins after %d, want 2", l.Consumer().Acked)
	}
}

// What is appended waits for a commit that has taken numbers, and comes behind.
func TestAppendingWaitsForEarlierNumbers(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.open()
	must(t, store.Register(t.Context(), "a", queue.Filter{}, 0))
	tx, err := s.raw.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `UPDATE head SET n = n + 7`)
	must(t, err)
	appended := make(chan error, 1)
	go func() {
		_, err := store.Append(t.Context(), "a", []gerritstream.Entry{entry(shardA, "1", 10), entry(shardA, "2", 10)})
		appended <- err
	}()
	s.blocked()
	if page, err := store.Read(t.Context(), "a", 0, 10); err != nil || len(page) > 0 {
		t.Errorf("%d events can be read, %v", len(page), err)
	}
	must(t, tx.Commit(t.Context()))
	must(t, <-appended)
	page, err := store.Read(t.Context(), "a", 0, 10)
	must(t, err)
	if len(page) != 2 || page[0].Number != 8 || page[1].Number != 9 {
		t.Errorf("read %+v, want the numbers 8 and 9", page)
	}
}
