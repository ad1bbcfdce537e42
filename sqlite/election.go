package sqlite

import (
	"context"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// candidacy is one Campaign, or one wait for the lease of a consumer.
type candidacy struct {
	epoch int
	shard gerritstream.ShardID            // of a consumer: storekit.ConsumerLease
	enter func(*term, *transaction) error // checks in the transaction that takes the lease, and reads
}

// Campaign implements gerritstream.Store.
func (s *Store) Campaign(ctx context.Context, epoch int, shard gerritstream.ShardID) (gerritstream.Term, error) {
	t, err := s.campaign(ctx, candidacy{epoch: epoch, shard: shard, enter: (*term).readBeginning})
	if err != nil {
		return nil, fmt.Errorf("campaign for %s: %w", shard, err)
	}
	return t, nil
}

// campaign waits for a candidacy's term.
func (s *Store) campaign(ctx context.Context, c candidacy) (*term, error) {
	t := &term{store: s, epoch: c.epoch, shard: c.shard}
	held, err := s.watcher.Campaign(ctx, c.shard, func(held *lease.Term, seen lease.Lease) error {
		return s.writer.write(context.Background(), storekit.PointCampaign, func(tx *transaction) error {
			return t.take(tx, held.Number, seen, c.enter)
		})
	})
	if err != nil {
		return nil, err
	}
	t.held = held
	return t, nil
}

// take writes that the term has the lease, if that is still as it was seen.
func (t *term) take(tx *transaction, number uint64, seen lease.Lease, enter func(*term, *transaction) error) error {
	var now lease.Lease
	_, err := get(context.Background(), tx, []any{&now.Term, &now.Process, &now.Heartbeat},
		`SELECT l.term, l.process, coalesce(p.beat, 0)
		FROM leases l LEFT JOIN processes p ON p.id = l.process WHERE l.shard = ?`, t.shard)
	if err != nil {
		return err
	}
	if now != seen {
		return lease.ErrChanged
	}
	if err := enter(t, tx); err != nil {
		return err
	}
	if err := t.store.beat(tx); err != nil {
		return err
	}
	if err := tx.exec(removeCandidate, t.store.id, t.shard); err != nil {
		return err
	}
	return tx.exec(`INSERT INTO leases (shard, term, process) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET term = excluded.term, process = excluded.process`, t.shard, number, t.store.id)
}

// readBeginning reads where a term of a shard begins.
func (t *term) readBeginning(tx *transaction) (err error) {
	if err := checkEpoch(tx, t.epoch); err != nil {
		return err
	}
	b := &t.beginning
	if b.Position, b.Stored, err = readPosition(context.Background(), tx, t.epoch, t.shard); err != nil {
		return fmt.Errorf("read position of %s: %w", t.shard, err)
	}
	return nil
}
