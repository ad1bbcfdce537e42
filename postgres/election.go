package postgres

import (
	"context"
	"fmt"
	"math"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// candidacy is one Campaign, or one wait for the lease of a consumer.
type candidacy struct {
	epoch int                  // anyEpoch: of no stream
	shard gerritstream.ShardID // of a consumer: storekit.ConsumerLease

	// enter adds to the transaction that takes the lease, after that, what
	// reads where the term begins. entered is called once all of it has been
	// read, and may refuse; the lease is freed then.
	enter   func(*term, *batch)
	entered func(*term) error
}

// anyEpoch is never over.
const anyEpoch = math.MaxInt32

// Campaign implements gerritstream.Store.
func (s *Store) Campaign(ctx context.Context, epoch int, shard gerritstream.ShardID) (gerritstream.Term, error) {
	begin := &beginning{}
	t, err := s.campaign(ctx, candidacy{epoch: epoch, shard: shard, enter: begin.read, entered: begin.entered})
	if err != nil {
		return nil, fmt.Errorf("campaign for %s: %w", shard, err)
	}
	return t, nil
}

// campaign waits for a candidacy's term.
func (s *Store) campaign(ctx context.Context, c candidacy) (*term, error) {
	t := &term{store: s, epoch: c.epoch, shard: c.shard}
	held, err := s.watcher.Campaign(ctx, c.shard, func(held *lease.Term, seen lease.Lease) error {
		return t.take(held.Number, seen, c)
	})
	if err != nil {
		return nil, err
	}
	t.held = held
	return t, nil
}

// takeLease takes a lease ($4) in a term ($5) if it still is as it was seen,
// with the term, the process and its heartbeat ($6 to $8; a term of 0: there
// was none), and the epoch ($9) is not over. With it comes a heartbeat, and the
// end of the candidacy. Whatever lock it waits for, it compares what is stored
// then.
//
// A heartbeat that the former holder writes at this very moment may be missed.
// That is no matter: its lease was left alone for its time to live, and the
// fence tells it.
const takeLease = `WITH w AS (INSERT INTO @.leases AS l (shard, term, process) SELECT $4::text, $5::bigint, $1
			WHERE $9::integer >= ` + currentEpoch + ` AND
				($6::bigint = 0 OR EXISTS (SELECT FROM @.leases h WHERE h.shard = $4))
			ON CONFLICT (shard) DO UPDATE SET term = excluded.term, process = excluded.process
			WHERE l.term = $6 AND l.process = $7::text
				AND coalesce((SELECT beat FROM @.processes WHERE id = $7), 0) = $8::bigint
			RETURNING l.shard),
		b AS (` + beatOfWinner + `),
		c AS (DELETE FROM @.candidates WHERE process = $1 AND shard IN (SELECT shard FROM w))
	SELECT shard FROM w`

// beatOfWinner is beat for takeLease.
const beatOfWinner = `INSERT INTO @.processes AS p (id, name, beat, ttl, beaten)
	SELECT $1::text, $2::text, 1, $3::bigint, clock_timestamp() FROM w
	ON CONFLICT (id) DO UPDATE SET beat = p.beat + 1, beaten = excluded.beaten`

// take writes that the term has the lease, if that is still as it was seen, and
// reads where the term begins: the former holder has finished by then.
func (t *term) take(number uint64, seen lease.Lease, c candidacy) error {
	s := t.store
	won, epoch := false, 0
	err := s.write(s.life, storekit.PointCampaign, func(b *batch) {
		won = false
		b.get([]any{new(string)}, func() { won = true }, takeLease, s.beaten(string(t.shard),
			int64(number), int64(seen.Term), seen.Process, int64(seen.Heartbeat), t.epoch)...)
		b.get([]any{&epoch}, nil, `SELECT `+currentEpoch)
		c.enter(t, b)
	})
	if err == nil && !won {
		if err = storekit.CheckEpoch(t.epoch, epoch); err == nil {
			err = lease.ErrChanged
		}
	}
	if err == nil {
		err = c.entered(t)
	}
	return err
}

// beginning is where a term of a shard begins.
type beginning struct {
	raw   []byte
	nonce string
	found bool
}

func (o *beginning) read(t *term, b *batch) {
	o.found = false
	b.get([]any{&o.raw, &o.nonce}, func() { o.found = true },
		`SELECT position, nonce FROM @.positions WHERE epoch = $1 AND shard = $2`, t.epoch, string(t.shard))
}

func (o *beginning) entered(t *term) (err error) {
	if !o.found {
		return nil
	}
	t.nonce = o.nonce
	t.beginning.Stored = true
	if t.beginning.Position, err = storekit.ReadPosition(o.raw); err != nil {
		return fmt.Errorf("read position of %s: %w", t.shard, err)
	}
	return nil
}
