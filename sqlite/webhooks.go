package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

var _ webhook.Store = (*Store)(nil)

// SetFilter implements queue.Store.
func (s *Store) SetFilter(ctx context.Context, consumer string, f queue.Filter) error {
	if _, err := f.Matcher(); err != nil {
		return fmt.Errorf("set filter of consumer %s: %w", consumer, err)
	}
	err := s.writer.write(ctx, storekit.PointConsumers, func(tx *transaction) error {
		n, err := tx.change(`UPDATE consumers SET filter = nullif(?, '') WHERE name = ?`,
			queue.EncodeFilter(f), consumer)
		if err == nil && n == 0 {
			err = queue.ErrNoConsumer
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("set filter of consumer %s: %w", consumer, err)
	}
	return nil
}

// Reader implements webhook.Store.
func (s *Store) Reader(ctx context.Context, consumer string) (name string, err error) {
	if err := s.check(); err != nil {
		return "", err
	}
	_, err = get(ctx, s.reading, []any{&name},
		`SELECT p.name FROM leases l JOIN processes p ON p.id = l.process AND `+alive+` WHERE l.shard = ?2`,
		s.config.Now().UnixMilli(), string(storekit.ConsumerLease(consumer)))
	return name, explainRead(s.place.path, err)
}

// HookStates implements webhook.Store.
func (s *Store) HookStates(ctx context.Context) ([]webhook.State, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	states, err := readHooks(ctx, s.reading, `true`)
	return states, explainRead(s.place.path, err)
}

// HookState implements webhook.Store.
func (s *Store) HookState(ctx context.Context, hook string) (webhook.State, error) {
	if err := s.check(); err != nil {
		return webhook.State{}, err
	}
	states, err := readHooks(ctx, s.reading, `name = ?`, hook)
	if err != nil || len(states) == 0 {
		return webhook.State{Name: hook}, explainRead(s.place.path, err)
	}
	return states[0], nil
}

// HookStates returns what is kept of the webhooks. A file that no version with
// webhooks has opened yet has none.
func (r *Reader) HookStates(ctx context.Context) (states []webhook.State, err error) {
	s, err := readSchema(ctx, r.db)
	if err == nil && s.version < webhooksSince {
		return nil, nil
	}
	if err == nil {
		states, err = readHooks(ctx, r.db, `true`)
	}
	if err != nil {
		return nil, fmt.Errorf("read webhooks of %s: %w", r.path, explainRead(r.path, err))
	}
	return states, nil
}

// readHooks reads what is kept of the hooks that a condition selects. A report
// that cannot be understood is left out: another version wrote it, for people.
// A pause that cannot be is an error: it must not end by that.
func readHooks(ctx context.Context, q querier, where string, args ...any) (states []webhook.State, err error) {
	err = each(ctx, q, func(rows *sql.Rows) error {
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
	}, `SELECT name, report, pause, dead_letters, given_up FROM webhooks WHERE `+where+` ORDER BY name`, args...)
	return states, err
}

// ReportHook implements webhook.Store.
func (s *Store) ReportHook(ctx context.Context, hook string, r webhook.Report) error {
	return s.keep(ctx, "report webhook", hook, r, `INSERT INTO webhooks (name, report) VALUES (?, ?)
		ON CONFLICT DO UPDATE SET report = excluded.report`)
}

// PauseHook implements webhook.Store.
func (s *Store) PauseHook(ctx context.Context, hook string, p webhook.Pause) error {
	return s.keep(ctx, "pause webhook", hook, p, `INSERT INTO webhooks (name, pause) VALUES (?, ?)
		ON CONFLICT DO UPDATE SET pause = coalesce(pause, excluded.pause)`)
}

// keep writes what is kept of a hook.
func (s *Store) keep(ctx context.Context, what, hook string, value any, statement string) error {
	text, err := json.Marshal(value)
	if err == nil {
		err = s.writer.write(ctx, storekit.PointWebhooks, func(tx *transaction) error {
			return tx.exec(statement, hook, string(text))
		})
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, hook, err)
	}
	return nil
}

// ResumeHook implements webhook.Store.
func (s *Store) ResumeHook(ctx context.Context, hook string) error {
	err := s.writer.write(ctx, storekit.PointWebhooks, func(tx *transaction) error {
		return tx.exec(`UPDATE webhooks SET pause = NULL WHERE name = ?`, hook)
	})
	if err != nil {
		return fmt.Errorf("resume webhook %s: %w", hook, err)
	}
	return nil
}
