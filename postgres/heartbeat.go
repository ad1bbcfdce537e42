package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// beat is a heartbeat (of $1, $2, $3). The number grows with each one.
const beat = `INSERT INTO @.processes AS p (id, name, beat, ttl, beaten)
	SELECT $1::text, $2::text, 1, $3::bigint, clock_timestamp() WHERE true
	ON CONFLICT (id) DO UPDATE SET beat = p.beat + 1, beaten = excluded.beaten`

// beaten returns the arguments of beat, and others.
func (s *Store) beaten(others ...any) []any {
	return append([]any{s.id, s.config.Process, s.config.LeaseTTL.Milliseconds()}, others...)
}

// renewal writes a heartbeat and for which shards this process is a candidate:
// it stays one for some ($4), and becomes one for others ($5). It returns the
// leases that the process has, and how many candidacies were added or removed.
const renewal = `WITH b AS (` + beat + `),
	removed AS (DELETE FROM @.candidates WHERE process = $1 AND NOT shard = ANY ($4::text[]) RETURNING 1),
	added AS (INSERT INTO @.candidates (process, shard) SELECT $1, w.shard FROM unnest($5::text[]) w (shard)
		WHERE NOT EXISTS (SELECT FROM @.candidates c WHERE c.process = $1 AND c.shard = w.shard)
			AND NOT EXISTS (SELECT FROM @.leases l WHERE l.process = $1 AND l.shard = w.shard)
		ON CONFLICT DO NOTHING RETURNING 1)
	SELECT coalesce(l.shard, ''), coalesce(l.term, 0)
	FROM (SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM added)) n
		LEFT JOIN @.leases l ON l.process = $1`

// Beat implements lease.Database.
func (o *tables) Beat(ctx context.Context, waiting lease.Waiting) (map[gerritstream.ShardID]uint64, error) {
	s := o.store
	if s.heartbeat.Leaving() {
		return nil, errClosed
	}
	keep, add := waiting()
	held := map[gerritstream.ShardID]uint64{}
	err := s.control.update(ctx, func(rows pgx.Rows) error {
		var shard gerritstream.ShardID
		var number uint64
		err := rows.Scan(&shard, &number)
		if shard != "" {
			held[shard] = number
		}
		return err
	}, renewal, s.beaten(texts(keep), texts(add))...)
	return held, err
}

// texts returns the ids of shards as a parameter.
func texts(shards []gerritstream.ShardID) []string {
	ids := make([]string, len(shards))
	for i, shard := range shards {
		ids[i] = string(shard)
	}
	return ids
}

// Free implements lease.Database.
func (o *tables) Free(ctx context.Context, leases map[gerritstream.ShardID]uint64) error {
	var shards []string
	var numbers []int64
	for _, shard := range slices.Sorted(maps.Keys(leases)) {
		shards, numbers = append(shards, string(shard)), append(numbers, int64(leases[shard]))
	}
	return o.store.control.write(ctx, func(b *batch) { b.exec(freeLeases, o.store.id, shards, numbers) })
}

// freeLeases frees the leases that this process ($1) still has in these terms.
const freeLeases = `UPDATE @.leases l SET process = '' FROM unnest($2::text[], $3::bigint[]) u (shard, term)
	WHERE l.shard = u.shard AND l.term = u.term AND l.process = $1`

const (
	// forgetAfter is when the row of a process that stopped without leaving is
	// removed.
	forgetAfter = time.Hour
	forgetEvery = time.Minute
)

// forget removes, now and then, the processes that stopped without leaving.
func (s *Store) forget() {
	for again := true; again; again = storekit.Sleep(s.life, forgetEvery) {
		err := s.persist(s.life, func(b *batch) {
			b.exec(`DELETE FROM @.processes WHERE beaten < clock_timestamp() - $1 * interval '1 second' AND id <> $2
				AND id NOT IN (SELECT process FROM @.leases)`, int64(forgetAfter/time.Second), s.id)
		})
		if err != nil && s.life.Err() == nil {
			s.log.Debug("cannot remove the processes that stopped without leaving", "err", err)
		}
	}
}
