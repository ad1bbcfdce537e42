package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/webhook"
)

// Dead letters of webhooks are kept as long as events are kept for a consumer
// that is behind, and count as lost then.
func TestRetentionOfHookLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSweepingUntil(t, 3*time.Hour)
		name := queue.WebhookConsumer("h")
		must(t, w.store.Register(t.Context(), name, queue.Filter{}, 0))
		arrived := time.Now().Truncate(time.Millisecond)
		w.commit(2)
		c, err := queue.Open(t.Context(), w.store, name)
		must(t, err)
		events, err := c.Next(t.Context(), 10)
		must(t, err)
		for _, e := range events {
			must(t, w.store.PutAside(t.Context(), webhook.Letter{Hook: "h", Event: e}))
		}
		must(t, c.Ack(t.Context(), events[1].Number))
		must(t, c.Close(t.Context()))
		expect := func(letters, expired int64) queue.Info {
			t.Helper()
			state, err := w.store.HookState(t.Context(), "h")
			must(t, err)
			infos, err := w.store.Consumers(t.Context())
			must(t, err)
			if state.DeadLetters != letters || infos[0].Expired != expired {
				t.Errorf("%d letters held, %d expired, want %d, %d",
					state.DeadLetters, infos[0].Expired, letters, expired)
			}
			return infos[0]
		}
		wait(t, 2*time.Hour)
		w.expect(0, 2) // the events themselves were acknowledged
		expect(2, 0)
		wait(t, 90*time.Minute)
		if info := expect(0, 2); !info.ExpiredFrom.Equal(arrived) {
			t.Errorf("what expired had arrived at %v, want %v", info.ExpiredFrom, arrived)
		}
	})
}

// A file of an older version has no webhooks, for those who only look.
func TestOldFileHasNoWebhooks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	makeStore(t, path)
	raw, err := sql.Open("sqlite", path)
	must(t, err)
	for _, statement := range []string{
		"DROP TRIGGER webhook_removed", "DROP TABLE webhook_letters", "DROP TABLE webhooks", "PRAGMA user_version=9",
	} {
		_, err := raw.ExecContext(t.Context(), statement)
		must(t, err)
	}
	must(t, raw.Close())
	r, err := sqlite.OpenReader(t.Context(), path)
	must(t, err)
	defer func() { must(t, r.Close(t.Context())) }()
	if states, err := r.HookStates(t.Context()); err != nil || len(states) != 0 {
		t.Errorf("states %v, %v", states, err)
	}
	o, err := sqlite.OpenOperator(t.Context(), path)
	must(t, err)
	defer func() { must(t, o.Close(t.Context())) }()
	for l, err := range o.HookLetters(t.Context()) {
		t.Errorf("letter %v, %v", l, err)
	}
}
