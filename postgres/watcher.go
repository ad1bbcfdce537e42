package postgres

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

// How often the watcher looks into the tables, if any call waits. A candidate
// looks more often: that is how late a resignation is noticed without
// notifications. One for a shard is so for moments, until the shard is handed
// over; one for a consumer may be so for days.
const (
	lookEvery         = 500 * time.Millisecond
	lookForLease      = 250 * time.Millisecond
	lookWithoutNotice = 50 * time.Millisecond // for a shard's lease, when no notification comes
)

// tables is a lease.Database: the tables of processes, candidates and leases,
// and what else calls wait for.
type tables struct {
	store    *Store
	notified atomic.Bool // notifications wake the watcher as well

	mu     sync.Mutex
	ending []*endWait // under mu

	// Of the watcher's goroutine:
	pauses       pauses.Set
	pausesChange int64 // how often they were changed; never 0
}

// endWait is one call that waits for the end of a shard.
type endWait struct {
	epoch  int
	shard  gerritstream.ShardID
	stored *string // of the watcher's goroutine: the position as read last; nil: none
}

// lookEvery is how often the watcher looks while calls wait for leases of these
// shards.
func (o *tables) lookEvery(shards []gerritstream.ShardID) time.Duration {
	pause := lookEvery
	for _, shard := range shards {
		pause = lookForLease
		if !strings.HasPrefix(string(shard), storekit.LeaseOfConsumer) && !o.notified.Load() {
			return lookWithoutNotice
		}
	}
	return pause
}

// WaitEnded implements gerritstream.Store.
func (s *Store) WaitEnded(ctx context.Context, epoch int, shard gerritstream.ShardID) error {
	w, o := &endWait{epoch: epoch, shard: shard}, s.tables
	o.mu.Lock()
	o.ending = append(o.ending, w)
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.ending = slices.DeleteFunc(o.ending, func(other *endWait) bool { return other == w })
	}()
	return s.watcher.Await(ctx, func(bool, time.Time) (bool, error) {
		if w.stored == nil {
			return false, nil
		}
		pos, err := storekit.ReadPosition([]byte(*w.stored))
		return err == nil && pos.Ended, nil
	})
}

// WaitGroupChange implements gerritstream.Group.
func (s *Store) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (bool, error) {
	return s.watcher.WaitGroupChange(ctx, seen)
}

// poll reads at one moment how often the tables were changed, the processes,
// and the positions ($1, $2) that calls wait for.
const poll = `SELECT c.leases, c.candidates, c.members, c.pauses, p.ids, p.beats, p.ttls, p.ages,
		array(SELECT o.position FROM unnest($1::integer[], $2::text[]) WITH ORDINALITY w (epoch, shard, i)
			LEFT JOIN @.positions o ON o.epoch = w.epoch AND o.shard = w.shard ORDER BY w.i)
	FROM @.changes c, (SELECT coalesce(array_agg(id), '{}') ids, coalesce(array_agg(beat), '{}') beats,
		coalesce(array_agg(ttl), '{}') ttls, coalesce(array_agg(` + age + `), '{}') ages FROM @.processes) p`

// Read implements lease.Database.
func (o *tables) Read(state *lease.State) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(o.store.life, callPatience)
	defer cancel()
	if err := o.read(ctx, state); err != nil {
		o.pausesChange = 0
		return false, explain(err)
	}
	return true, nil
}

func (o *tables) read(ctx context.Context, state *lease.State) error {
	o.mu.Lock()
	ending := slices.Clone(o.ending)
	o.mu.Unlock()
	epochs, shards := make([]int32, len(ending)), make([]string, len(ending))
	for i, w := range ending {
		epochs[i], shards[i] = int32(w.epoch), string(w.shard)
	}
	c, was, paused := &state.Changes, state.Changes, o.pausesChange
	var ids []string
	var beats, ttls, ages []int64
	var positions []*string
	_, err := o.store.control.get(ctx, []any{&c.Leases, &c.Candidates, &c.Members, &o.pausesChange,
		&ids, &beats, &ttls, &ages, &positions}, poll, epochs, shards)
	if err != nil {
		return err
	}
	state.Processes = nil
	for i, id := range ids {
		state.Processes = append(state.Processes, lease.Process{
			ID: id, Heartbeat: uint64(beats[i]), TTL: millis(ttls[i]), Age: millis(ages[i]),
		})
	}
	for i, w := range ending {
		w.stored = positions[i]
	}
	// What is read below may be newer than the counts: then it is read again.
	if *c == was && o.pausesChange == paused {
		return nil
	}
	return o.readChanged(ctx, state, was, paused)
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// readChanged reads the tables that were changed since they were read, and how
// often they were changed was counted, last.
func (o *tables) readChanged(ctx context.Context, state *lease.State, was lease.Changes, paused int64) error {
	c := &state.Changes
	var read storedPauses
	err := o.store.control.view(ctx, func(b *batch) {
		if o.pausesChange != paused {
			b.each(read.scan, selectPauses)
		}
		if c.Leases != was.Leases {
			state.Leases = readLeases(b)
		}
		if c.Candidates != was.Candidates {
			state.Candidates = readCandidates(b, waitingCandidates)
		}
		if c.Members != was.Members {
			state.Members = nil
			readMembers(b, &state.Members)
		}
	})
	if err == nil && o.pausesChange != paused {
		o.pauses = read.set
	}
	return err
}

// readLeases reads all leases, without their holders' heartbeats.
func readLeases(b *batch) map[gerritstream.ShardID]lease.Lease {
	leases := map[gerritstream.ShardID]lease.Lease{}
	b.each(func(rows pgx.Rows) error {
		var shard gerritstream.ShardID
		var l lease.Lease
		err := rows.Scan(&shard, &l.Term, &l.Process)
		leases[shard] = l
		return err
	}, `SELECT shard, term, process FROM @.leases`)
	return leases
}
