package sqlite_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// sweeping is a store with a retention of an hour, whose local clock can be set
// wrong, and its leader.
type sweeping struct {
	*shared
	t     *testing.T
	store *sqlite.Store
	term  gerritstream.Term
	off   atomic.Int64 // of the local clock; the bubble's own is the service's
	log   recorder
	next  int
}

func newSweeping(t *testing.T) *sweeping {
	t.Helper()
	return newSweepingUntil(t, time.Hour)
}

// newSweepingUntil returns one that waits for consumers, until the longest
// retention.
func newSweepingUntil(t *testing.T, longest time.Duration) *sweeping {
	t.Helper()
	w := &sweeping{shared: newShared(t), t: t}
	now := func() time.Time { return time.Now().Add(time.Duration(w.off.Load())) }
	w.store = openWith(t, sqlite.Config{
		Path: w.path, Retention: time.Hour, RetentionMax: longest, LeaseTTL: 10 * time.Minute,
		Now: now, Logger: w.log.logger(),
	})
	w.term = elect(t, w.store, shardA)
	return w
}

// commit queues n events that have just arrived, with the service's time.
func (w *sweeping) commit(n int) {
	w.t.Helper()
	c := gerritstream.Commit{Position: position("1"), Now: time.Now()}
	for range n {
		w.next++
		e := entry(shardA, gerritstream.SequenceNumber(fmt.Sprint(w.next)), 10)
		e.Arrived = time.Now()
		c.Entries = append(c.Entries, e)
	}
	must(w.t, w.term.Commit(w.t.Context(), c))
}

// expect checks how many events are held, and how many were removed.
func (w *sweeping) expect(queue, expired int64) gerritstream.Inspection {
	w.t.Helper()
	in, err := w.store.Inspect(w.t.Context())
	must(w.t, err)
	if in.Queue != queue || in.Expired != expired {
		w.t.Errorf("%d events held, %d expired, want %d, %d", in.Queue, in.Expired, queue, expired)
	}
	return in
}

// Events are removed when they expire, not before, and are counted. Dead
// letters stay.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweeping(t)
		for range 3 {
			w.commit(400)
		}
		must(t, w.term.Commit(t.Context(), gerritstream.Commit{
			Position:    position("1"),
			DeadLetters: []gerritstream.DeadLetter{{ID: gerritstream.EventID{1}, Shard: shardA, Seq: "9"}},
		}))
		wait(t, 50*time.Minute)
		w.commit(1)
		w.expect(1201, 0)
		wait(t, 15*time.Minute)
		w.expect(1, 1200)
		wait(t, time.Hour)
		if in := w.expect(0, 1201); in.DeadLetters != 1 {
			t.Errorf("%d dead letters", in.DeadLetters)
		}
	})
}

// A local clock that is wrong, or was when an event was queued, removes
// nothing, neither when it is corrected nor when it goes wrong.
func TestRetentionDoesNotBelieveTheLocalClock(t *testing.T) {
	const day = 24 * time.Hour
	for name, off := range map[string]time.Duration{"late": -10 * day, "early": 10 * day,
		"two hours early": 2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSweeping(t)
				w.off.Store(int64(off))
				w.commit(150)
				wait(t, 10*time.Minute)
				w.expect(150, 0)
				w.off.Store(0)
				w.commit(0)
				wait(t, 10*time.Minute)
				w.expect(150, 0)
				w.off.Store(int64(off))
				wait(t, 10*time.Minute)
				w.expect(150, 0)
				wait(t, time.Hour)
				w.expect(150, 0) // they have expired, and the clocks contradict each other
				if n := strings.Count(w.log.String(), "not removing events"); n != 2 {
					t.Errorf("logged %d times that nothing is removed, want once for each wrong clock", n)
				}
				w.off.Store(0)
				wait(t, 2*time.Minute)
				w.expect(0, 150)
			})
		})
	}
}

// Retention counts from an event's arrival or its queueing, whichever is later:
// a backlog is kept as long as new events are, and a process with a wrong clock
// does not shorten that.
func TestRetentionCountsFromTheLaterOfArrivalAndQueueing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweeping(t)
		w.commit(3)
		w.exec(`UPDATE events SET queued_at = queued_at - 1000000000 WHERE n = 1`)
		w.exec(`UPDATE events SET arrived = arrived - 1000000000 WHERE n = 2`)
		w.exec(`UPDATE events SET arrived = arrived - 1000000000, queued_at = queued_at - 1000000000 WHERE n = 3`)
		wait(t, 10*time.Minute)
		w.expect(2, 1)
	})
}

// Without the service's time nothing is removed.
func TestRetentionWaitsForTheServicesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweeping(t)
		w.exec(`INSERT INTO events (id, shard, seq, sub, arrived, type, project, ref, queued_at, payload)
			VALUES (zeroblob(16), 's', '1', -1, 0, '', '', '', 0, x'')`)
		wait(t, time.Hour)
		w.expect(1, 0)
		w.commit(0)
		wait(t, 2*time.Minute)
		w.expect(0, 1)
	})
}

// Removed events that no consumer was known to have read are counted apart, and
// logged once.
func TestExpiredUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweeping(t)
		w.commit(10)
		w.exec(`INSERT INTO consumers (name, n, at, beyond) VALUES ('slow', 2, 0, '[[9,9]]'), ('fast', 6, 0, NULL)`)
		wait(t, 70*time.Minute)
		if in := w.expect(0, 10); in.ExpiredUnread != 3 || time.Since(in.ExpiredUnreadAt) > 15*time.Minute {
			t.Errorf("%d unread, the last at %v", in.ExpiredUnread, in.ExpiredUnreadAt)
		}
		w.commit(10)
		w.exec(`UPDATE consumers SET n = 20`)
		wait(t, 70*time.Minute)
		if in := w.expect(0, 20); in.ExpiredUnread != 3 {
			t.Errorf("%d unread, want 3 as before", in.ExpiredUnread)
		}
		w.exec(`DELETE FROM consumers`)
		last := w.expect(0, 20).ExpiredUnreadAt
		w.commit(10)
		wait(t, 70*time.Minute)
		if in := w.expect(0, 30); in.ExpiredUnread != 13 || !in.ExpiredUnreadAt.Equal(last) {
			t.Errorf("%d unread, want 13; the last that a consumer missed at %v, want %v",
				in.ExpiredUnread, in.ExpiredUnreadAt, last)
		}
		if n := strings.Count(w.log.String(), "removed unread events"); n != 1 {
			t.Errorf("logged %d times that events went unread", n)
		}
	})
}

// Between its transactions the sweep lets others write.
func TestSweepLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweeping(t)
		for range 3 {
			w.commit(400)
		}
		began := time.Now()
		n, err := w.store.RemoveExpired(began.Add(time.Hour))
		must(t, err)
		if took := time.Since(began); n != 1200 || took < 40*time.Millisecond {
			t.Errorf("%d events were removed in %v, want 20 ms between each 500", n, took)
		}
	})
}

// Numbers are not reused, not even after the newest events were removed: a
// reader's place stays valid.
func TestNumbersAreNotReused(t *testing.T) {
	s := newShared(t)
	store := s.open()
	term := elect(t, store, shardA)
	must(t, term.Commit(t.Context(), commitOf("1", entry(shardA, "1", 1))))
	n, err := store.RemoveExpired(time.Now().Add(time.Hour))
	must(t, err)
	if n != 1 {
		t.Errorf("%d removed, want 1", n)
	}
	must(t, term.Commit(t.Context(), commitOf("2", entry(shardA, "2", 1))))
	reader, err := sqlite.OpenReader(t.Context(), s.path)
	must(t, err)
	defer reader.Close(t.Context())
	for e, err := range reader.Events(t.Context(), 0) {
		must(t, err)
		if e.Number != 2 || e.Entry.Seq != "2" {
			t.Errorf("event %s has number %d, want 2", e.Entry.Seq, e.Number)
		}
	}
}
