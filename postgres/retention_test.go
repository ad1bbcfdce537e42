package postgres_test

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// aging is a store whose events can be made older, and its leader.
type aging struct {
	*shared
	store *postgres.Store
	term  gerritstream.Term
	next  int
}

func newAging(t *testing.T) *aging {
	t.Helper()
	a := &aging{shared: newShared(t)}
	a.store = a.open()
	a.term = elect(t, a.store, shardA)
	return a
}

// commit queues n events that have just arrived.
func (a *aging) commit(n int) {
	a.t.Helper()
	c := gerritstream.Commit{Position: position("1"), Now: time.Now()}
	for range n {
		a.next++
		e := entry(shardA, gerritstream.SequenceNumber(fmt.Sprint(a.next)), 10)
		e.Arrived = time.Now().UTC().Truncate(time.Millisecond)
		c.Entries = append(c.Entries, e)
	}
	must(a.t, a.term.Commit(a.t.Context(), c))
}

// age makes everything older.
func (a *aging) age(hours int) {
	a.t.Helper()
	by := fmt.Sprintf("interval '%d hours'", hours)
	a.exec(`UPDATE events SET arrived = arrived - ` + by + `, queued_at = queued_at - ` + by)
	a.exec(`UPDATE additions SET arrived = arrived - ` + by + `, queued_at = queued_at - ` + by)
	a.exec(`UPDATE webhook_letters SET put_aside_at = put_aside_at - ` + by)
}

// sweep removes what is older than an hour, or, for consumers, than three.
func (a *aging) sweep() (removed, unread int64) {
	a.t.Helper()
	now := time.Now()
	removed, unread, err := a.store.Sweep(now.Add(-time.Hour), now.Add(-3*time.Hour))
	must(a.t, err)
	return removed, unread
}

// expect checks how many events are held, and how many were removed.
func (a *aging) expect(queue, expired int64) gerritstream.Inspection {
	a.t.Helper()
	in, err := a.store.Inspect(a.t.Context())
	must(a.t, err)
	if in.Queue != queue || in.Expired != expired {
		a.t.Errorf("%d events held, %d expired, want %d, %d", in.Queue, in.Expired, queue, expired)
	}
	return in
}

func (a *aging) consumers() map[string]queue.Info {
	a.t.Helper()
	infos, err := a.store.Consumers(a.t.Context())
	must(a.t, err)
	byName := map[string]queue.Info{}
	for _, info := range infos {
		byName[info.Name] = info
	}
	return byName
}

// Events are removed when they expire, by the later of arrival and queueing,
// not before, and are counted.
func TestRetention(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	for range 5 {
		a.commit(450)
	}
	a.age(2)
	a.exec(`UPDATE events SET queued_at = queued_at + interval '1 hour' WHERE n = 7`)
	a.exec(`UPDATE events SET arrived = arrived + interval '1 hour 30 minutes' WHERE n = 8`)
	a.exec(`UPDATE events SET arrived = arrived + interval '30 minutes' WHERE n = 9`)
	a.commit(3)
	a.sweep()
	in := a.expect(4, 2249)
	if in.ExpiredUnread != 2249 || !in.ExpiredUnreadAt.IsZero() {
		t.Errorf("%d unread, and a consumer missed the last at %v", in.ExpiredUnread, in.ExpiredUnreadAt)
	}
}

// Retention waits for consumers, up to the longest one; what it takes then is
// counted for those that had not acknowledged it and whose filter keeps it.
func TestRetentionWaitsForConsumers(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	register := func(name string, f queue.Filter, after int64) {
		must(t, a.store.Register(t.Context(), name, f, after))
	}
	register("behind", queue.Filter{}, 0)
	register("narrow", queue.Filter{Types: []string{"comment-added"}}, 0)
	register("current", queue.Filter{}, 100)
	register("half", queue.Filter{}, 6)
	register("scattered", queue.Filter{}, 6)
	a.commit(10)
	a.exec(`UPDATE events SET type = 'comment-added' WHERE n = 4`)
	a.age(2)
	a.sweep()
	a.expect(10, 0)
	a.exec(`UPDATE consumers SET n = 2 WHERE name = 'behind'`)
	a.exec(`UPDATE consumers SET n = 4 WHERE name = 'narrow'`)
	if removed, unread := a.sweep(); removed != 2 || unread != 0 {
		t.Errorf("%d removed, %d unread, want 2, 0", removed, unread)
	}
	a.exec(`UPDATE consumers SET n = 3 WHERE name = 'narrow'`)
	a.exec(`UPDATE consumers SET beyond = '[[8,9]]' WHERE name = 'scattered'`)
	a.age(2)
	a.exec(`DELETE FROM consumers WHERE name = 'current'`)
	register("current", queue.Filter{}, 9)
	if removed, unread := a.sweep(); removed != 8 || unread != 1 {
		t.Errorf("%d removed, %d unread, want 8, 1", removed, unread)
	}
	lost := map[string]int64{}
	for name, info := range a.consumers() {
		lost[name] = info.Expired
		if (info.Expired > 0) != !info.ExpiredFrom.IsZero() || info.ExpiredTo.Before(info.ExpiredFrom) {
			t.Errorf("%s lost what arrived from %v to %v", name, info.ExpiredFrom, info.ExpiredTo)
		}
	}
	want := map[string]int64{"behind": 8, "narrow": 1, "half": 4, "scattered": 2, "current": 1}
	if !maps.Equal(lost, want) {
		t.Errorf("lost: %v, want %v", lost, want)
	}
	if in := a.expect(0, 10); in.ExpiredUnread != 1 || time.Since(in.ExpiredUnreadAt) > time.Minute {
		t.Errorf("%d unread, the last at %v", in.ExpiredUnread, in.ExpiredUnreadAt)
	}
}

// Rows that other programs have written badly harm no other consumer, neither
// when events expire nor when consumers are listed.
func TestBadRowsOfConsumers(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	must(t, a.store.Register(t.Context(), "behind", queue.Filter{}, 0))
	a.exec(`INSERT INTO consumers (name, n, at, filter, beyond) VALUES ('before', -1, 'infinity', NULL, NULL),
		('filter', 3, now(), 'x', NULL), ('pattern', 3, now(), '{"types":["^("]}', NULL),
		('beyond', 3, now(), NULL, '['), ('future', 1::bigint << 60, now(), '', '[[7,3],[2,2]]')`)
	a.commit(10)
	a.age(2)
	a.sweep()
	a.expect(10, 0)
	for name, info := range a.consumers() {
		want := map[string]int64{"before": 10, "behind": 10, "future": 0}
		n, sound := want[name]
		if !sound {
			n = 7
		}
		if info.Pending != n || (info.Fault == "") != sound {
			t.Errorf("the consumer is %+v", info)
		}
		if _, err := queue.Open(t.Context(), a.store, name); !sound && err == nil {
			t.Errorf("%s was opened", name)
		}
	}
	a.exec(`DELETE FROM consumers WHERE name = 'future'`)
	a.age(2)
	a.sweep()
	a.expect(0, 10)
	for name, info := range a.consumers() {
		if want := 10 - max(info.Acked, 0); info.Expired != want {
			t.Errorf("%s lost %d, want %d", name, info.Expired, want)
		}
	}
}

// A queue that is too large waits for nobody, and what has not expired stays.
func TestRetentionDoesNotWaitInALargeQueue(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	must(t, a.store.Register(t.Context(), "behind", queue.Filter{}, 0))
	a.commit(200)
	a.age(2)
	a.commit(5)
	a.sweep()
	a.expect(205, 0)
	a.store.SetMaxBytes(205 * 200)
	a.sweep()
	a.expect(5, 200)
}

// What was appended for a consumer is kept until the longest retention, and
// counts as lost then. Events of every age may be appended.
func TestRetentionOfAdditions(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	must(t, a.store.Register(t.Context(), "a", queue.Filter{Types: []string{"comment-added"}}, 0))
	old := time.Now().Add(-1000 * time.Hour).UTC().Truncate(time.Millisecond)
	var entries []gerritstream.Entry
	for seq := 901; seq < 904; seq++ {
		e := entry(shardA, gerritstream.SequenceNumber(fmt.Sprint(seq)), 10)
		e.Arrived, e.Event.Type = old, "comment-added"
		entries = append(entries, e)
	}
	entries[2].Event.Type = "ref-updated"
	_, err := a.store.Append(t.Context(), "a", entries)
	must(t, err)
	pending := func(want, expired int64) queue.Info {
		t.Helper()
		info := a.consumers()["a"]
		if info.Pending != want || info.Expired != expired {
			t.Errorf("%d pending, %d expired, want %d, %d", info.Pending, info.Expired, want, expired)
		}
		return info
	}
	a.age(2)
	a.sweep()
	pending(2, 0)
	a.exec(`UPDATE consumers SET n = 1`)
	pending(1, 0)
	a.age(2)
	if removed, unread := a.sweep(); removed != 2 || unread != 1 {
		t.Errorf("%d removed, %d unread, want 2, 1", removed, unread)
	}
	if info := pending(0, 1); !info.ExpiredFrom.Equal(old.Add(-4 * time.Hour)) {
		t.Errorf("what expired had arrived at %v, want %v", info.ExpiredFrom, old)
	}
	a.expect(0, 0) // the counter is of events
}

// Dead letters of webhooks are kept as long as events are kept for a consumer
// that is behind, and count as lost then.
func TestRetentionOfHookLetters(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	name := queue.WebhookConsumer("h")
	must(t, a.store.Register(t.Context(), name, queue.Filter{}, 0))
	a.commit(2)
	c, err := queue.Open(t.Context(), a.store, name)
	must(t, err)
	events, err := c.Next(t.Context(), 10)
	must(t, err)
	for _, e := range events {
		must(t, a.store.PutAside(t.Context(), webhook.Letter{Hook: "h", Event: e}))
	}
	must(t, c.Ack(t.Context(), events[1].Number))
	must(t, c.Close(t.Context()))
	expect := func(letters, expired int64) queue.Info {
		t.Helper()
		state, err := a.store.HookState(t.Context(), "h")
		must(t, err)
		info := a.consumers()[name]
		if state.DeadLetters != letters || info.Expired != expired {
			t.Errorf("%d letters held, %d expired, want %d, %d", state.DeadLetters, info.Expired, letters, expired)
		}
		return info
	}
	a.age(2)
	a.sweep()
	a.expect(0, 2) // the events themselves were acknowledged
	expect(2, 0)
	a.age(2)
	a.sweep()
	if info := expect(0, 2); !info.ExpiredFrom.Equal(events[0].Entry.Arrived) {
		t.Errorf("what expired had arrived at %v, want %v", info.ExpiredFrom, events[0].Entry.Arrived)
	}
}

// Processes that sweep at the same time count each event once, with a consumer
// that loses all of them, and with none.
func TestSweepersTakeTurns(t *testing.T) {
	t.Parallel()
	const events = 4500
	for _, consumers := range []int64{0, 1} {
		a := newAging(t)
		if consumers > 0 {
			must(t, a.store.Register(t.Context(), "stopped", queue.Filter{Types: []string{"t"}}, 0))
		}
		for range events / 500 {
			a.commit(500)
		}
		a.exec(`UPDATE events SET type = 't' WHERE n % 2 = 0`)
		a.age(4)
		var total, unread atomic.Int64
		var sweeping sync.WaitGroup
		for _, store := range []*postgres.Store{a.store, a.open(), a.open()} {
			sweeping.Go(func() {
				n, missed, err := store.Sweep(time.Now(), time.Now())
				if err != nil {
					t.Error(err)
				}
				total.Add(n)
				unread.Add(missed)
			})
		}
		sweeping.Wait()
		in := a.expect(0, events)
		if total.Load() != events || unread.Load() != consumers*events || in.ExpiredUnread != events {
			t.Errorf("%d were removed, %d unread, by the counter %d; want %d", total.Load(), unread.Load(),
				in.ExpiredUnread, events)
		}
		if n := a.consumers()["stopped"].Expired; n != consumers*events/2 {
			t.Errorf("%d expired for the consumer, want %d", n, consumers*events/2)
		}
	}
}

// A removal begins once another one has ended: it would count what that one
// removes. Consumers that lose by it would keep them apart; there are none.
func TestRemovalsTakeTurns(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	a.commit(10)
	a.age(4)
	a.exec(fmt.Sprintf(`CREATE FUNCTION hold_removal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_advisory_xact_lock_shared(%d);
		RETURN NULL;
	END $$`, heldOpen))
	a.exec(`CREATE TRIGGER hold_removal AFTER DELETE ON events FOR EACH STATEMENT EXECUTE FUNCTION hold_removal()`)
	free := a.takeHeldOpen()
	var removed atomic.Int64
	var sweeping sync.WaitGroup
	sweep := func(store *postgres.Store) {
		sweeping.Go(func() {
			ok, err := store.SweepOnce(t.Context(), time.Now(), func() {})
			if err != nil {
				t.Error(err)
			}
			if ok {
				removed.Add(1)
			}
		})
	}
	sweep(a.store)
	eventually(t, "the first removal is held", a.waiting(1))
	sweep(a.open())
	eventually(t, "the second one waits for it", func() bool {
		return a.count(`SELECT count(*) FROM pg_stat_activity first JOIN pg_stat_activity second
			ON first.pid = ANY (pg_blocking_pids(second.pid))
			WHERE first.query LIKE '%"`+a.schema+`".events%' AND first.wait_event = 'advisory'`) > 0
	})
	free()
	sweeping.Wait()
	a.expect(0, 10)
	if n := removed.Load(); n != 1 {
		t.Errorf("%d removals count, want 1", n)
	}
}

// What changes between the reading of what expires and its removal prevents
// that: an acknowledgement, or another process that has removed it.
func TestRetentionRemovesOnlyWhatItHasCounted(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	must(t, a.store.Register(t.Context(), "a", queue.Filter{}, 0))
	l, err := a.store.Lease(t.Context(), "a")
	must(t, err)
	a.commit(10)
	a.age(4)
	sweep := func(want bool, between func()) {
		t.Helper()
		if removed, err := a.store.SweepOnce(t.Context(), time.Now(), between); err != nil || removed != want {
			t.Errorf("removed: %v, %v, want %v", removed, err, want)
		}
	}
	sweep(false, func() { must(t, l.Ack(t.Context(), queue.Set{UpTo: 2})) })
	sweep(false, func() {
		must(t, l.Ack(t.Context(), queue.Set{UpTo: 2, Beyond: []queue.Range{{First: 5, Last: 6}}}))
	})
	a.expect(10, 0)
	sweep(false, func() { sweep(true, func() {}) })
	a.expect(0, 10)
	if n := a.consumers()["a"].Expired; n != 6 {
		t.Errorf("%d expired for the consumer, want 6", n)
	}
}
