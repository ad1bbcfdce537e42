package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

// All times are the server's.
const (
	shareEvery = 250 * time.Millisecond
	askedEvery = time.Second // while nobody asks
	askedFor   = `interval '10 seconds'`
	askAgain   = `interval '3 seconds'`
)

// ShareFrontier implements queue.Store.
func (s *Store) ShareFrontier(ctx context.Context, known func() queue.Frontier) {
	failed := false
	for wait := shareEvery; storekit.Sleep(ctx, wait) && s.life.Err() == nil; {
		asked, err := s.share(ctx, known)
		if err != nil && !failed && ctx.Err() == nil && s.life.Err() == nil {
			s.log.Warn("cannot share how far shards are read; consumers by arrival hold events back for longer",
				"err", err)
		}
		failed = err != nil
		wait = askedEvery
		if asked {
			wait = shareEvery
		}
	}
}

// share writes the frontier if somebody asks for it.
func (s *Store) share(ctx context.Context, known func() queue.Frontier) (asked bool, err error) {
	_, err = s.db.get(ctx, []any{&asked},
		`SELECT abs(extract(epoch FROM clock_timestamp() - at)) < extract(epoch FROM `+askedFor+`)
		FROM @.frontier_asked`)
	if err != nil || !asked {
		return asked, err
	}
	f := known()
	if f.Until == nil {
		return asked, nil
	}
	return asked, s.db.write(ctx, func(b *batch) {
		b.exec(`INSERT INTO @.frontiers (process, epoch, until) SELECT id, $1, $2 FROM @.processes WHERE id = $3
			ON CONFLICT (process) DO UPDATE SET epoch = excluded.epoch, until = excluded.until`,
			f.Epoch, storekit.EncodeFrontier(f), s.id)
	})
}

// Frontier implements queue.Store.
func (s *Store) Frontier(ctx context.Context) (frontier time.Time, err error) {
	var shared [][]byte
	err = s.patiently(ctx, func() error {
		shared = nil
		ask := false
		err := s.db.each(ctx, func(rows pgx.Rows) error {
			var text []byte
			err := rows.Scan(&ask, &text)
			if text != nil {
				shared = append(shared, text)
			}
			return err
		}, `SELECT abs(extract(epoch FROM clock_timestamp() - a.at)) >= extract(epoch FROM `+askAgain+`), f.until
			FROM @.frontier_asked a LEFT JOIN @.frontiers f ON f.epoch = (SELECT max(epoch) FROM @.frontiers)`)
		if err == nil && ask {
			// If that cannot be written, events are held back for longer, no
			// more.
			_ = s.db.write(ctx, func(b *batch) { b.exec(`UPDATE @.frontier_asked SET at = clock_timestamp()`) })
		}
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	return storekit.JoinFrontiers(shared)
}
