package sqlite_test

import (
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
		if lost["behind"] != 8 || lost["narrow"] != 1 || lost["half"] != 4 || lost["scattered"] != 2 || lost["current"] != 0 {
			t.Errorf("lost: %v", lost)
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
		if n := last(11); n != 0 {
			t.Errorf("more than there are: %d", n)
		}
	})
}
