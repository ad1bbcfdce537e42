package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/gerritstream/gerritstream"
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
	until := make(map[gerritstream.ShardID]int64, len(f.Until))
	for shard, t := range f.Until {
		until[shard] = 0
		if !t.IsZero() {
			until[shard] = t.UnixMilli()
		}
	}
	text, _ := json.Marshal(until) // numbers have a form
	return s.writer.do(ctx, func(tx *transaction) error {
		err := tx.exec(`DELETE FROM frontiers WHERE process NOT IN (SELECT id FROM processes)`)
		if err != nil {
			return err
		}
		return tx.exec(`INSERT INTO frontiers (process, epoch, until) SELECT id, ?, ? FROM processes WHERE id = ?
			ON CONFLICT DO UPDATE SET epoch = excluded.epoch, until = excluded.until`, f.Epoch, string(text), s.id)
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

// Frontier implements queue.Store. What one process knows of a shard counts for
// all. Each process has its own list of the shards that may still bring events,
// and any of these lists is complete: what is missing from it opens when one of
// its shards closes, and that shard stands still then. So the latest of their
// frontiers counts.
func (s *Store) Frontier(ctx context.Context) (time.Time, error) {
	if err := s.check(); err != nil {
		return time.Time{}, err
	}
	if err := s.askForFrontier(ctx); err != nil {
		return time.Time{}, explainRead(s.place.path, err)
	}
	var shared []map[gerritstream.ShardID]int64
	latest := map[gerritstream.ShardID]int64{}
	err := each(ctx, s.reading, func(rows *sql.Rows) error {
		var text []byte
		var until map[gerritstream.ShardID]int64
		if err := rows.Scan(&text); err != nil {
			return err
		}
		if err := json.Unmarshal(text, &until); err != nil {
			return err
		}
		for shard, t := range until {
			latest[shard] = max(latest[shard], t)
		}
		shared = append(shared, until)
		return nil
	}, `SELECT until FROM frontiers WHERE epoch = (SELECT max(epoch) FROM frontiers)`)
	if err != nil {
		return time.Time{}, explainRead(s.place.path, err)
	}
	var frontier int64
	for _, until := range shared {
		frontier = max(frontier, earliest(until, latest))
	}
	if frontier == 0 {
		return time.Time{}, nil
	}
	return storekit.FromMillis(frontier), nil
}

// earliest returns the earliest time that is known of some shards; 0: of one,
// none is, or there are none.
func earliest(shards, known map[gerritstream.ShardID]int64) (least int64) {
	first := true
	for shard := range shards {
		if t := known[shard]; first || t < least {
			least, first = t, false
		}
	}
	return least
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
