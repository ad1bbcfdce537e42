package sqlite_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// What was appended for a consumer is kept until the longest retention, and
// counts as lost then. Events of every age may be appended.
func TestRetentionOfAdditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweepingUntil(t, 3*time.Hour)
		must(t, w.store.Register(t.Context(), "a", queue.Filter{Types: []string{"comment-added"}}, 0))
		old := time.Now().Add(-1000 * time.Hour).Truncate(time.Millisecond)
		var entries []gerritstream.Entry
		for _, seq := range []gerritstream.SequenceNumber{"901", "902", "903"} {
			e := entry(shardA, seq, 10)
			e.Arrived, e.Event.Type = old, "comment-added"
			entries = append(entries, e)
		}
		entries[2].Event.Type = "ref-updated"
		_, err := w.store.Append(t.Context(), "a", entries)
		must(t, err)
		w.commit(1)
		pending := func(want, expired int64) queue.Info {
			t.Helper()
			infos, err := w.store.Consumers(t.Context())
			must(t, err)
			if infos[0].Pending != want || infos[0].Expired != expired {
				t.Errorf("%d pending, %d expired, want %d, %d", infos[0].Pending, infos[0].Expired, want, expired)
			}
			return infos[0]
		}
		wait(t, 2*time.Hour)
		pending(2, 0)
		w.exec(`UPDATE consumers SET n = 1`)
		pending(1, 0)
		wait(t, 2*time.Hour)
		if info := pending(0, 1); !info.ExpiredFrom.Equal(old) {
			t.Errorf("what expired had arrived at %v, want %v", info.ExpiredFrom, old)
		}
		w.expect(0, 1)
	})
}

// What expired in the queue and was appended for a consumer is the first that
// is held.
func TestBoundsOfAdditions(t *testing.T) {
	s := newShared(t)
	store := s.open()
	term := elect(t, store, shardA)
	must(t, term.Commit(t.Context(), commitOf("1", entry(shardA, "1", 1))))
	must(t, store.Register(t.Context(), "a", queue.Filter{}, 1))
	_, err := store.Append(t.Context(), "a", []gerritstream.Entry{entry(shardA, "1", 1)})
	must(t, err)
	s.exec(`DELETE FROM events`)
	if oldest, newest, err := store.Bounds(t.Context()); err != nil || oldest != 2 || newest != 2 {
		t.Errorf("bounds %d, %d, %v, want 2, 2", oldest, newest, err)
	}
}
