package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

const (
	shareEvery = 250 * time.Millisecond
	askedFor   = 10 * time.Second // how long frontiers are shared after somebody asked for them
	askAgain   = 3 * time.Second
)

// ShareFrontier implements queue.Store.
func (s *Store) ShareFrontier(ctx context.Context, known func() queue.Frontier) {
	failed := false
	for storekit.Sleep(ctx, shareEvery) && s.life.Err() == nil {
		err := s.check()
		if err == nil {
			err = s.share(ctx, known)
		}
		if err != nil && !failed && ctx.Err() == nil && s.life.Err() == nil {
			s.log.Warn("cannot share how far shards are read; consumers by arrival hold events back for longer",
				"err", err)
		}
		failed = err != nil
	}
}

// share writes the frontier if somebody asks for it.
func (s *Store) share(ctx context.Context, known func() queue.Frontier) error {
	asked, err := s.isFrontierAsked(ctx, askedFor)
	if err != nil || !asked {
		return err
	}
	f := known()
	if f.Until == nil {
		return nil
	}
	return s.writer.do(ctx, func(tx *transaction) error {
		err := tx.exec(`DELETE FROM frontiers WHERE process NOT IN (SELECT id FROM processes)`)
		if err != nil {
			return err
		}
		return tx.exec(`INSERT INTO frontiers (process, epoch, until) SELECT id, ?, ? FROM processes WHERE id = ?
			ON CONFLICT DO UPDATE SET epoch = excluded.epoch, until = excluded.until`,
			f.Epoch, storekit.EncodeFrontier(f), s.id)
	})
}

// isFrontierAsked reports whether somebody asked for the frontiers within a
// time. All processes on a file have the same clock.
func (s *Store) isFrontierAsked(ctx context.Context, within time.Duration) (bool, error) {
	var at int64
	_, err := get(ctx, s.reading, []any{&at}, `SELECT at FROM frontier_asked`)
	since := s.config.Now().Sub(storekit.FromMillis(at))
	return since.Abs() < within, err
}

// Frontier implements queue.Store.
func (s *Store) Frontier(ctx context.Context) (time.Time, error) {
	if err := s.check(); err != nil {
		return time.Time{}, err
	}
	if err := s.askForFrontier(ctx); err != nil {
		return time.Time{}, explainRead(s.place.path, err)
	}
	var shared [][]byte
	err := each(ctx, s.reading, func(rows *sql.Rows) error {
		var text []byte
		err := rows.Scan(&text)
		shared = append(shared, text)
		return err
	}, `SELECT until FROM frontiers WHERE epoch = (SELECT max(epoch) FROM frontiers)`)
	if err != nil {
		return time.Time{}, explainRead(s.place.path, err)
	}
	return storekit.JoinFrontiers(shared)
}

// askForFrontier notes, now and then, that somebody asks for the frontiers.
func (s *Store) askForFrontier(ctx context.Context) error {
	asked, err := s.isFrontierAsked(ctx, askAgain)
	if err != nil || asked {
		return err
	}
	// If that cannot be written, events are held back for longer, no more.
	_ = s.writer.do(ctx, func(tx *transaction) error {
		return tx.exec(`UPDATE frontier_asked SET at = ?`, s.config.Now().UnixMilli())
	})
	return nil
}
