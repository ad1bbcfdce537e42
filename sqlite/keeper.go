package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// interval is how often a process beats.
func (s *Store) interval() time.Duration { return s.config.LeaseTTL / 5 }

// trust is for how long after the beginning of a beat a process may believe
// that it still leads.
func (s *Store) trust() time.Duration { return s.config.LeaseTTL - s.config.LeaseTTL/5 }

// forgetAfter is when the row of a process that stopped beating without leaving
// is removed.
const forgetAfter = time.Hour

// keep beats until stop.
func (s *Store) keep() {
	tick := time.NewTicker(s.interval())
	defer tick.Stop()
	failed := false
	for {
		err := s.inPlace()
		if err == nil {
			err = s.beat()
		}
		if err != nil && !failed && !errors.Is(err, errClosed) && s.fate() == nil {
			s.log.Warn("leaderships cannot be kept: the database cannot be written", "error", err)
		}
		failed = err != nil
		select {
		case <-tick.C:
		case <-s.wakeKeeper:
		case <-s.stop:
			return
		}
	}
}

// beat shows that the process is alive, frees the leases that it has and does
// not use, and ends terms whose leases others have.
func (s *Store) beat() error {
	began := time.Now()
	s.mu.Lock()
	live := maps.Clone(s.terms)
	s.mu.Unlock()
	var held map[gerritstream.ShardID]uint64
	var freed bool
	err := s.writer.do(context.Background(), func(st *statements) (err error) {
		if err := s.writeBeat(st); err != nil {
			return err
		}
		if err := s.lineUp(st); err != nil {
			return err
		}
		if held, err = s.heldLeases(st); err != nil {
			return err
		}
		freed, err = s.freeUnused(st, held)
		return err
	})
	if err != nil {
		return err
	}
	s.beaten(began)
	if freed {
		s.wakeWatcher.Set()
	}
	for shard, t := range live {
		if held[shard] != t.number {
			t.finish(errTaken)
		}
	}
	return nil
}

// writeBeat counts this process' beat up. It is part of whatever makes the
// process a member of the file: behind it, once the process has left, nothing
// is written.
func (s *Store) writeBeat(st *statements) error {
	if s.leaving.Load() {
		return errClosed
	}
	now := s.config.Now()
	forgotten, err := st.changed(st.forget, now.Add(-forgetAfter).UnixMilli(), s.id)
	if err == nil && forgotten > 0 {
		err = st.exec(st.forgetWaiting)
	}
	if err != nil {
		return err
	}
	return st.exec(st.beat, s.id, s.config.Process, s.beats.Add(1), s.config.LeaseTTL.Milliseconds(), now.UnixMilli())
}

// lineUp writes for which shards this process waits, where that is not what the
// file says.
func (s *Store) lineUp(st *statements) error {
	is, err := shardsOf(st.waiting, s.id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	ought := map[gerritstream.ShardID]bool{}
	for _, c := range s.candidacies {
		if c.waits {
			ought[c.shard] = true
		}
	}
	s.lined = ought // if this is not written after all, the next beat does it
	s.mu.Unlock()
	for shard := range is {
		if !ought[shard] {
			if err := st.exec(st.stopWaiting, s.id, shard); err != nil {
				return err
			}
		}
	}
	for _, shard := range slices.Sorted(maps.Keys(ought)) {
		if !is[shard] {
			if err := st.exec(st.wait, s.id, shard); err != nil {
				return err
			}
		}
	}
	return nil
}

// shardsOf reads shards.
func shardsOf(stmt *sql.Stmt, args ...any) (shards map[gerritstream.ShardID]bool, err error) {
	rows, err := stmt.QueryContext(context.Background(), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	shards = map[gerritstream.ShardID]bool{}
	for rows.Next() {
		var shard gerritstream.ShardID
		if err := rows.Scan(&shard); err != nil {
			return nil, err
		}
		shards[shard] = true
	}
	return shards, rows.Err()
}

// heldLeases reads what this process has.
func (s *Store) heldLeases(st *statements) (held map[gerritstream.ShardID]uint64, err error) {
	rows, err := st.heldLeases.QueryContext(context.Background(), s.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	held = map[gerritstream.ShardID]uint64{}
	for rows.Next() {
		var shard gerritstream.ShardID
		var number uint64
		if err := rows.Scan(&shard, &number); err != nil {
			return nil, err
		}
		held[shard] = number
	}
	return held, rows.Err()
}

// freeUnused frees the leases that this process has without a term that lives:
// whatever ended it, and whether or not it was known that the lease had been
// taken. Otherwise they would stay with it for as long as it beats, and the
// shards with nobody.
func (s *Store) freeUnused(st *statements, held map[gerritstream.ShardID]uint64) (freed bool, err error) {
	for shard, number := range held {
		if s.uses(shard, number) {
			continue
		}
		if err := st.exec(st.freeLease, shard, number, s.id); err != nil {
			return freed, err
		}
		freed = true
	}
	return freed, nil
}

// uses reports whether a term of this process lives or is about to. One that is
// about to was noted before its lease was written.
func (s *Store) uses(shard gerritstream.ShardID, number uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.terms[shard]
	return t != nil && t.number == number || s.taking[shard] == number
}

// beaten notes that a beat succeeded which began then.
func (s *Store) beaten(began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if began.After(s.lastBeat) {
		s.lastBeat = began
	}
}

// guard ends terms that can no longer be trusted: another process may have
// taken their leases.
func (s *Store) guard() {
	timer := time.NewTimer(s.trust())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(s.endUntrusted(time.Now()))
		case <-s.stop:
			return
		}
	}
}

// endUntrusted ends the terms whose trust has run out and tells when to look
// again.
func (s *Store) endUntrusted(now time.Time) time.Duration {
	s.mu.Lock()
	next, over := s.trust(), []*term(nil)
	for _, t := range s.terms {
		proof := t.began
		if s.lastBeat.After(proof) {
			proof = s.lastBeat
		}
		if left := s.trust() - now.Sub(proof); left <= 0 {
			over = append(over, t)
		} else {
			next = min(next, left)
		}
	}
	s.mu.Unlock()
	for _, t := range over {
		t.finish(fmt.Errorf("no beat succeeded for %v", s.trust()))
	}
	return next
}
