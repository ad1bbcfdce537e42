package lease

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Group returns the state of the group as it was just read. Among the
// candidates the leader of a shard comes first. now is not later than the
// moment of the reading.
func (w *Watcher) Group(read State, shards []gerritstream.ShardID, now time.Time) gerritstream.GroupState {
	w.liveness.observe(read.Processes)
	return w.groupOf(read.Members, read.Candidates, shards, now)
}

// WaitGroupChange waits until the state of the group has changed since it was
// seen; see gerritstream.Group.
func (w *Watcher) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (bool, error) {
	shards := slices.Collect(maps.Keys(seen.Candidates))
	compared := -1  // w.group when this compared last
	var urgent bool // of Run, until it has happened: it may be at work when ctx ends
	err := w.Await(ctx, func(_ bool, now time.Time) (changed bool, _ error) {
		if compared == w.group {
			return false, nil
		}
		compared = w.group
		candidates := make(map[gerritstream.ShardID][]string, len(shards))
		for _, shard := range shards {
			if leader := w.leases[shard].lease.Process; leader != "" {
				candidates[shard] = []string{leader}
			}
			candidates[shard] = append(candidates[shard], w.state.Candidates[shard]...)
		}
		changed, urgent = seen.Changed(w.groupOf(w.state.Members, candidates, shards, now))
		return changed, nil
	})
	if err != nil {
		return false, err
	}
	return urgent, nil
}

// groupOf returns the state of the group with these members and candidates, of
// which those count that are alive. now is not later than the moment at which
// they were read. A leader, the first of a shard's candidates, is not also
// another one: its row may be a moment older than its lease.
func (w *Watcher) groupOf(
	members []gerritstream.Member, candidates map[gerritstream.ShardID][]string,
	shards []gerritstream.ShardID, now time.Time,
) gerritstream.GroupState {
	g := gerritstream.GroupState{
		Self: w.config.Process, Members: make([]gerritstream.Member, 0, len(members)),
		Candidates: map[gerritstream.ShardID][]gerritstream.Candidate{},
	}
	for _, m := range members {
		if w.liveness.alive(m.ID, now) {
			g.Members = append(g.Members, m)
		}
	}
	for _, shard := range shards {
		for i, id := range candidates[shard] {
			if w.liveness.alive(id, now) && (i == 0 || id != candidates[shard][0]) {
				g.Candidates[shard] = append(g.Candidates[shard], gerritstream.Candidate{Member: id})
			}
		}
	}
	return g
}

// OthersAlive reports whether other processes are alive, as far as they were
// seen.
func (w *Watcher) OthersAlive() bool { return w.liveness.nextDeath() > 0 }
