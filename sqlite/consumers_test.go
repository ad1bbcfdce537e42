package sqlite_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
)

// Retention waits for consumers, up to the longest one; what it takes then is
// counted for those that had not acknowledged it and whose filter keeps it.
func TestRetentionWaitsForConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweepingUntil(t, 3*time.Hour)
		must(t, w.store.Register(t.Context(), "behind", queue.Filter{}, 0))
		must(t, w.store.Register(t.Context(), "narrow", queue.Filter{Types: []string{"comment-added"}}, 0))
		must(t, w.store.Register(t.Context(), "current", queue.Filter{}, 100))
		must(t, w.store.Register(t.Context(), "half", queue.Filter{}, 6))
		must(t, w.store.Register(t.Context(), "scattered", queue.Filter{}, 6))
		w.commit(10)
		w.exec(`UPDATE events SET type = 'comment-added' WHERE n = 4`)
		wait(t, 2*time.Hour)
		w.expect(10, 0)
		w.exec(`UPDATE consumers SET n = 2 WHERE name = 'behind'`)
		w.exec(`UPDATE consumers SET n = 4 WHERE name = 'narrow'`)
		wait(t, 10*time.Minute)
		w.expect(8, 2)
		w.exec(`UPDATE consumers SET n = 3 WHERE name = 'narrow'`)
		w.exec(`UPDATE consumers SET beyond = '[[8,9]]' WHERE name = 'scattered'`)
		wait(t, time.Hour)
		w.expect(0, 10)
		infos, err := w.store.Consumers(t.Context())
		must(t, err)
		lost := map[string]int64{}
		for _, info := range infos {
			lost[info.Name] = info.Expired
			if (info.Expired > 0) != !info.ExpiredFrom.IsZero() || info.ExpiredTo.Before(info.ExpiredFrom) {
				t.Errorf("%s lost what arrived from %v to %v", info.Name, info.ExpiredFrom, info.ExpiredTo)
			}
		}
		want := map[string]int64{"behind": 8, "narrow": 1, "half": 4, "scattered": 2, "current": 0}
		if !maps.Equal(lost, want) {
			t.Errorf("lost: %v", lost)
		}
	})
}

// Rows that other programs have written badly harm no other consumer, neither
// when events expire nor when consumers are listed.
func TestBadRowsOfConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweepingUntil(t, 3*time.Hour)
		must(t, w.store.Register(t.Context(), "behind", queue.Filter{}, 0))
		w.exec(`INSERT INTO consumers (name, n, at, filter, beyond) VALUES ('before', -1, 0, NULL, NULL),
			('filter', 3, 0, 'x', NULL), ('pattern', 3, 0, '{"types":["^("]}', NULL), ('beyond', 3, 0, NULL, '['),
			('future', 1 << 60, -1, '', '[[7,3],[2,2]]')`)
		w.commit(10)
		wait(t, 2*time.Hour)
		w.expect(10, 0)
		infos, err := w.store.Consumers(t.Context())
		must(t, err)
		for _, info := range infos {
			want := map[string]int64{"before": 10, "behind": 10, "future": 0}
			n, sound := want[info.Name]
			if !sound {
				n = 7
			}
			if info.Pending != n || (info.Fault == "") != sound {
				t.Errorf("the consumer is %+v", info)
			}
			if _, err := queue.Open(t.Context(), w.store, info.Name); !sound && err == nil {
				t.Errorf("%s was opened", info.Name)
			}
		}
		w.exec(`DELETE FROM consumers WHERE name = 'future'`)
		wait(t, 70*time.Minute)
		w.expect(0, 10)
		infos, err = w.store.Consumers(t.Context())
		must(t, err)
		for _, info := range infos {
			if want := 10 - max(info.Acked, 0); info.Expired != want {
				t.Errorf("%s lost %d, want %d", info.Name, info.Expired, want)
			}
		}
	})
}

// A process that was killed before the clock was set back does not hold up a
// consumer until the clock has caught up.
func TestAConsumerIsFreeAfterTheClockWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		early := func() time.Time { return time.Now().Add(5 * time.Hour) }
		victim := openWith(t, sqlite.Config{Path: s.path, Now: early})
		must(t, victim.Register(t.Context(), "a", queue.Filter{}, 0))
		_, err := victim.Lease(t.Context(), "a")
		must(t, err)
		victim.Kill()
		must(t, victim.Reap())
		store := openWith(t, sqlite.Config{Path: s.path})
		infos, err := store.Consumers(t.Context())
		must(t, err)
		if len(infos) != 1 || infos[0].Reader != "" {
			t.Errorf("the consumers are %+v", infos)
		}
		must(t, store.Seek(t.Context(), "a", 0))
	})
}

// Nothing is left of consumers that were removed.
func TestNothingIsLeftOfARemovedConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := openWith(t, sqlite.Config{Path: s.path})
		for i := range 3 {
			name := fmt.Sprint("job", i)
			must(t, store.Register(t.Context(), name, queue.Filter{}, 0))
			l, err := store.Lease(t.Context(), name)
			must(t, err)
			must(t, l.Release(t.Context()))
			must(t, store.Remove(t.Context(), name))
		}
		var left int
		must(t, s.raw.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM leases) + (SELECT count(*) FROM candidates)
			+ (SELECT count(*) FROM consumers)`).Scan(&left))
		if left > 0 {
			t.Errorf("%d rows are left", left)
		}
	})
}

// What is pending is right wherever in a long queue a consumer is. Far from the
// end, a filter does not count.
func TestPendingInALongQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := openWith(t, sqlite.Config{Path: s.path})
		r := rand.New(rand.NewPCG(1, 2))
		const length, window = 300_000, 100_000
		events := map[int64]bool{length: true} // by number: a filter keeps it
		for range 400 {
			events[r.Int64N(length-1)+1] = r.IntN(2) == 0
		}
		numbers := slices.Sorted(maps.Keys(events))
		for _, n := range numbers {
			s.exec(fmt.Sprintf(`INSERT INTO events (n, id, shard, seq, sub, arrived, type, project, ref, queued_at, payload)
				VALUES (%d, randomblob(16), 's', '1', -1, 0, '%t', '', '', %[1]d, x'')`, n, events[n]))
		}
		for i := range 60 {
			place := func() int64 { return numbers[r.IntN(len(numbers))] + r.Int64N(3) - 1 }
			done := queue.Set{UpTo: []int64{0, place(), length - r.Int64N(200), length}[i%4]}
			for range r.IntN(6) {
				first := place()
				last := first + r.Int64N(1<<r.IntN(18))
				done = done.Union(queue.Set{Beyond: []queue.Range{{First: first, Last: last}}})
			}
			filter := queue.Filter{Types: [][]string{nil, {"true"}}[i%2]}
			name := fmt.Sprint(i)
			must(t, store.Register(t.Context(), name, filter, done.UpTo))
			s.exec(fmt.Sprintf(`UPDATE consumers SET beyond = nullif('%s', '') WHERE name = '%s'`,
				queue.EncodeRanges(done.Beyond), name))
			want, oldest := int64(0), int64(0)
			for _, n := range numbers {
				ignored := i%2 == 0 || done.UpTo < length-window && n <= length-window
				if !done.Has(n) && (events[n] || ignored) {
					want++
				}
				if !done.Has(n) && (events[n] || i%2 == 0 || done.UpTo < length-window) && oldest == 0 {
					oldest = n
				}
			}
			infos, err := store.Consumers(t.Context())
			must(t, err)
			j := slices.IndexFunc(infos, func(info queue.Info) bool { return info.Name == name })
			if got := infos[j]; got.Pending != want || want > 0 && got.Oldest.UnixMilli() != oldest {
				t.Errorf("%d pending since %d, want %d since %d; done is %+v, the filter %v", got.Pending,
					got.Oldest.UnixMilli(), want, oldest, done, filter)
			}
		}
	})
}

// A file that is too large waits for nobody, and what has not expired stays.
func TestRetentionDoesNotWaitInALargeFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweepingUntil(t, 100*time.Hour)
		must(t, w.store.Register(t.Context(), "behind", queue.Filter{}, 0))
		w.commit(200)
		wait(t, 70*time.Minute)
		w.commit(5)
		w.expect(205, 0)
		w.store.SetMaxBytes(1)
		wait(t, 10*time.Minute)
		w.expect(5, 200)
	})
}

// What opens a file as a reader of its queue makes none, removes nothing, and
// is no member of the group.
func TestOpenQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		if q, err := sqlite.OpenQueue(t.Context(), sqlite.Config{Path: s.path + "x", PollOnly: true}); err == nil {
			t.Error("a file that is missing was opened")
			must(t, q.Close(t.Context()))
		}
		s.exec(`INSERT INTO events (id, shard, seq, sub, arrived, type, project, ref, queued_at, payload)
			VALUES (zeroblob(16), 's', '1', -1, 0, '', '', '', 0, x'')`)
		q, err := sqlite.OpenQueue(t.Context(), sqlite.Config{Path: s.path, Retention: time.Minute, PollOnly: true})
		must(t, err)
		wait(t, time.Hour)
		if events, err := q.Read(t.Context(), "a", 0, 10); err != nil || len(events) != 1 {
			t.Errorf("%d events, %v", len(events), err)
		}
		g, err := q.GroupState(t.Context(), nil)
		must(t, err)
		if len(g.Members) != 0 {
			t.Errorf("the members are %v", g.Members)
		}
		must(t, q.Close(t.Context()))
	})
}

// The last events are found by a filter, in whatever order the types come.
func TestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweeping(t)
		r, err := sqlite.OpenReader(t.Context(), w.path)
		must(t, err)
		defer func() { must(t, r.Close(t.Context())) }()
		last := func(count int, types ...string) int64 {
			m, err := queue.Filter{Types: types}.Matcher()
			must(t, err)
			n, err := r.Last(t.Context(), count, m)
			must(t, err)
			return n
		}
		if n := last(3); n != 0 {
			t.Errorf("of an empty queue: %d", n)
		}
		w.commit(10)
		w.exec(`UPDATE events SET type = 'a' WHERE n IN (2, 5, 9)`)
		for want, got := range map[int64]int64{10: last(0), 7: last(3), 0: last(10), 4: last(2, "a"), 8: last(1, "a")} {
			if got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		}
		for want, got := range map[int64]int64{0: last(11), 1: last(4, "a"), 10: last(1, "b")} {
			if got != want {
				t.Errorf("of more than there are: %d, want %d", got, want)
			}
		}
	})
}
