package zookeeper

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Inspect implements gerritstream.Store. A shard that Zuul's own listener leads
// is led by "Zuul (Python)". Other processes may go on writing while it reads.
func (s *Store) Inspect(ctx context.Context) (in gerritstream.Inspection, err error) {
	err = s.look(ctx, func(ctx context.Context, sess *session) (err error) {
		in = gerritstream.Inspection{}
		if err := sess.sync(ctx); err != nil {
			return err
		}
		epoch := 0
		if in.Origin, _, err = s.readOrigin(ctx, sess); err != nil {
			return err
		} else if in.Origin != nil {
			epoch = in.Origin.Epoch
		}
		if in.Shards, err = s.inspectShards(ctx, sess, epoch); err != nil {
			return err
		}
		if in.Reports, err = s.inspectReports(ctx, sess); err != nil {
			return err
		}
		dirs, err := sess.statAll(ctx, []string{s.at.queue(), s.at.deadLetters()})
		if err != nil {
			return err
		}
		in.Queue, in.DeadLetters = int64(dirs[0].stat.NumChildren), int64(dirs[1].stat.NumChildren)
		counts, err := sess.readChildren(ctx, s.at.discardedCounts())
		for _, n := range counts {
			in.Discarded += decodeCount(n.data)
		}
		return err
	})
	if err != nil {
		return gerritstream.Inspection{}, fmt.Errorf("inspect: %w", err)
	}
	return in, nil
}

// Inspect returns what ZooKeeper holds of a connection, without taking part in
// anything. It waits a few seconds for a server.
func Inspect(ctx context.Context, config Config) (in gerritstream.Inspection, err error) {
	s, err := Open(ctx, config)
	if err != nil {
		return gerritstream.Inspection{}, err
	}
	in, err = s.Inspect(ctx)
	return in, errors.Join(err, s.Close(ctx))
}

// inspectShards describes the shards that have a position in the epoch, or a
// leader.
func (s *Store) inspectShards(
	ctx context.Context, sess *session, epoch int,
) (map[gerritstream.ShardID]gerritstream.InspectedShard, error) {
	positions, err := sess.readChildren(ctx, s.at.positions(epoch))
	if err != nil {
		return nil, err
	}
	shards := map[gerritstream.ShardID]gerritstream.InspectedShard{}
	for name, n := range positions {
		stored := storekit.StoredPosition(n.data, storekit.FromMillis(n.stat.Mtime))
		shards[gerritstream.ShardID(name)] = gerritstream.InspectedShard{
			Position: &stored.Position, Term: stored.Stamp.Term, Committed: stored.Committed,
		}
	}
	children, err := sess.children(ctx, s.at.zuul)
	if err != nil {
		return nil, err
	}
	leaders := make([]lockHolder, len(children))
	err = forEach(ctx, len(children), func(ctx context.Context, i int) error {
		if !strings.HasPrefix(children[i], electionPrefix) {
			return nil
		}
		first, err := sess.lockHolders(ctx, s.at.zuul+"/"+children[i], 1)
		leaders[i] = first[0]
		return err
	})
	for i, leader := range leaders {
		if leader.name != "" {
			shard := gerritstream.ShardID(strings.TrimPrefix(children[i], electionPrefix))
			of := shards[shard]
			of.Leader, of.Term, of.Foreign = leader.name, cmp.Or(leader.term, of.Term), leader.foreign()
			shards[shard] = of
		}
	}
	return shards, err
}

// lockHolder is the leader of a shard or a candidate for it.
type lockHolder struct {
	name string
	term uint64 // 0: none of ours
	path string // of the lock node
}

// foreign reports whether there is a holder, and it is none of ours.
func (h lockHolder) foreign() bool { return h.name != "" && h.term == 0 }

// lockHolders returns the first n candidates of an election, the leader first.
// Where there are fewer, the rest are zero.
func (sess *session) lockHolders(ctx context.Context, root string, n int) ([]lockHolder, error) {
	holders := make([]lockHolder, n)
	children, err := sess.children(ctx, root)
	if err != nil {
		return holders, err
	}
	i := 0
	for _, c := range candidatesOf(children) {
		path := root + "/" + c.name
		n, err := sess.get(ctx, path)
		if err != nil {
			return holders, err
		}
		if !n.present {
			continue
		}
		name, ours := lockOwner(n.data)
		holders[i] = lockHolder{name: name, path: path}
		if ours {
			holders[i].term = uint64(n.stat.Czxid)
		}
		if i++; i == len(holders) {
			break
		}
	}
	return holders, nil
}

// inspectReports returns the reports of the live processes. One that cannot be
// read or understood is left out.
func (s *Store) inspectReports(ctx context.Context, sess *session) (reports []gerritstream.Report, err error) {
	names, err := sess.children(ctx, s.at.reports())
	if err != nil {
		return nil, err
	}
	nodes, err := readAll(ctx, below(s.at.reports(), names), func(ctx context.Context, path string) (node, error) {
		n, err := sess.get(ctx, path)
		if outcomeOf(err) == refused {
			return node{}, nil
		}
		return n, err
	})
	for _, n := range nodes {
		var r gerritstream.Report
		if json.Unmarshal(n.data, &r) == nil && r.Process != "" {
			reports = append(reports, r)
		}
	}
	slices.SortFunc(reports, func(a, b gerritstream.Report) int { return cmp.Compare(a.Process, b.Process) })
	return reports, err
}
