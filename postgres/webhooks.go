package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

var _ webhook.Store = (*Store)(nil)

// SetFilter implements queue.Store.
func (s *Store) SetFilter(ctx context.Context, consumer string, f queue.Filter) error {
	_, err := f.Matcher()
	if err == nil {
		var set int64
		err = s.write(ctx, storekit.PointConsumers, func(b *batch) {
			b.change(func(n int64) { set = n },
				`UPDATE @.consumers SET filter = nullif($1, '') WHERE name = $2`, queue.EncodeFilter(f), consumer)
		})
		if err == nil && set == 0 {
			err = queue.ErrNoConsumer
		}
	}
	if err != nil {
		return fmt.Errorf("set filter of consumer %s: %w", consumer, err)
	}
	return nil
}

// Reader implements webhook.Store.
func (s *Store) Reader(ctx context.Context, consumer string) (name string, err error) {
	err = s.patiently(ctx, func() error {
		name = ""
		_, err := s.db.get(ctx, []any{&name}, `SELECT p.name FROM @.leases l
			JOIN @.processes p ON p.id = l.process AND `+alive+` WHERE l.shard = $1`,
			string(storekit.ConsumerLease(consumer)))
		return err
	})
	return name, err
}

// HookStates implements webhook.Store.
func (s *Store) HookStates(ctx context.Context) (states []webhook.State, err error) {
	err = s.patiently(ctx, func() (err error) {
		states, err = readHooks(ctx, s.db, `true`)
		return err
	})
	return states, err
}

// HookState implements webhook.Store.
func (s *Store) HookState(ctx context.Context, hook string) (webhook.State, error) {
	var states []webhook.State
	err := s.patiently(ctx, func() (err error) {
		states, err = readHooks(ctx, s.db, `name = $1`, hook)
		return err
	})
	if err != nil || len(states) == 0 {
		return webhook.State{Name: hook}, err
	}
	return states[0], nil
}

// readHooks reads what is kept of the hooks that a condition selects. A report
// that cannot be understood is left out: another version wrote it, for people.
// A pause that cannot be is an error: it must not end by that.
func readHooks(ctx context.Context, db *database, where string, args ...any) (states []webhook.State, err error) {
	err = db.each(ctx, func(rows pgx.Rows) error {
		var s webhook.State
		var report, pause []byte
		if err := rows.Scan(&s.Name, &report, &pause, &s.DeadLetters, &s.GivenUp); err != nil {
			return err
		}
		if json.Unmarshal(report, &s.Report) != nil {
			s.Report = webhook.Report{}
		}
		if pause != nil {
			if err := json.Unmarshal(pause, &s.Pause); err != nil {
				return fmt.Errorf("pause of webhook %s: %w", s.Name, err)
			}
		}
		states = append(states, s)
		return nil
	}, `SELECT name, report, pause, dead_letters, given_up FROM @.webhooks WHERE `+where+` ORDER BY name`, args...)
	return states, err
}

// ReportHook implements webhook.Store.
func (s *Store) ReportHook(ctx context.Context, hook string, r webhook.Report) error {
	return s.keep(ctx, "report webhook", hook, r, `INSERT INTO @.webhooks (name, report) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET report = excluded.report`)
}

// PauseHook implements webhook.Store.
func (s *Store) PauseHook(ctx context.Context, hook string, p webhook.Pause) error {
	return s.keep(ctx, "pause webhook", hook, p, `INSERT INTO @.webhooks AS w (name, pause) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET pause = coalesce(w.pause, excluded.pause)`)
}

// keep writes what is kept of a hook.
func (s *Store) keep(ctx context.Context, what, hook string, value any, statement string) error {
	text, err := json.Marshal(value)
	if err == nil {
		err = s.write(ctx, storekit.PointWebhooks, func(b *batch) { b.exec(statement, hook, string(text)) })
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, hook, err)
	}
	return nil
}

// ResumeHook implements webhook.Store.
func (s *Store) ResumeHook(ctx context.Context, hook string) error {
	err := s.write(ctx, storekit.PointWebhooks, func(b *batch) {
		b.exec(`UPDATE @.webhooks SET pause = NULL WHERE name = $1`, hook)
	})
	if err != nil {
		return fmt.Errorf("resume webhook %s: %w", hook, err)
	}
	return nil
}
