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
	"golang.org/x/sync/errgroup"
)

// Inspect implements gerritstream.Store. A shard that Zuul's own listener leads
// is led by "Zuul (Python)".
func (s *Store) Inspect(ctx context.Context) (in gerritstream.Inspection, err error) {
	err = s.call(ctx, func(ctx context.Context, sess *session) error {
		in, err = s.inspect(ctx, sess)
		return err
	})
	if err != nil {
		return gerritstream.Inspection{}, fmt.Errorf("inspect: %w", err)
	}
	return in, nil
}

// Inspect returns what ZooKeeper holds, without taking part in anything: for
// `status`. It waits for a server that is away for a few seconds.
func Inspect(ctx context.Context, config Config) (in gerritstream.Inspection, err error) {
	s, err := Open(ctx, config)
	if err != nil {
		return gerritstream.Inspection{}, err
	}
	in, err = s.Inspect(ctx)
	return in, errors.Join(err, s.Close(ctx))
}

// inspect reads everything. It is not one moment: processes go on meanwhile.
func (s *Store) inspect(ctx context.Context, sess *session) (in gerritstream.Inspection, err error) {
	if err := sess.sync(ctx); err != nil {
		return in, err
	}
	if in.Origin, _, err = s.readOrigin(ctx, sess); err != nil {
		return in, err
	}
	epoch := 0
	if in.Origin != nil {
		epoch = in.Origin.Epoch
	}
	if in.Shards, err = s.inspectShards(ctx, sess, epoch); err != nil {
		return in, err
	}
	if in.Reports, err = s.inspectReports(ctx, sess); err != nil {
		return in, err
	}
	var queue, letters node
	if queue, err = sess.stat(ctx, s.at.queue()); err != nil {
		return in, err
	}
	if letters, err = sess.stat(ctx, s.at.deadLetters()); err != nil {
		return in, err
	}
	in.Queue, in.DeadLetters = int64(queue.stat.NumChildren), int64(letters.stat.NumChildren)
	counts, err := sess.readAll(ctx, s.at.discardedCounts())
	for _, n := range counts {
		in.Discarded += decodeCount(n.data)
	}
	return in, err
}

// inspectShards describes the shards that have a position in the epoch, or a
// leader.
func (s *Store) inspectShards(ctx context.Context, sess *session, epoch int) (map[gerritstream.ShardID]gerritstream.InspectedShard, error) {
	positions, err := sess.readAll(ctx, s.at.positions(epoch))
	if err != nil {
		return nil, err
	}
	shards := map[gerritstream.ShardID]gerritstream.InspectedShard{}
	for name, n := range positions {
		pos, stamp, err := storekit.DecodePosition(n.data)
		if err != nil {
			pos = gerritstream.Position{Unreadable: err}
		}
		shards[gerritstream.ShardID(name)] = gerritstream.InspectedShard{
			Position: &pos, Term: stamp.Term, Committed: fromMilliseconds(n.stat.Mtime),
		}
	}
	leaders, err := s.leaders(ctx, sess)
	for shard, leader := range leaders {
		of := shards[shard]
		of.Leader, of.Term, of.Foreign = leader.name, cmp.Or(leader.term, of.Term), leader.foreign()
		shards[shard] = of
	}
	return shards, err
}

// leader is who leads a shard, or stands in line for it, by which term (0: a
// foreign one), and its lock node.
type lockHolder struct {
	name string
	term uint64
	path string
}

// foreign tells that it is somebody, and none of ours.
func (l lockHolder) foreign() bool { return l.name != "" && l.term == 0 }

// leaders reads who leads which shard.
func (s *Store) leaders(ctx context.Context, sess *session) (map[gerritstream.ShardID]lockHolder, error) {
	children, err := sess.children(ctx, s.at.zuul)
	if err != nil {
		return nil, err
	}
	found := make([]lockHolder, len(children))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readsAtOnce)
	for i, name := range children {
		if strings.HasPrefix(name, electionPrefix) {
			all.Go(func() (err error) {
				found[i], err = sess.leader(ctx, s.at.zuul+"/"+name)
				return err
			})
		}
	}
	err = all.Wait()
	leaders := map[gerritstream.ShardID]lockHolder{}
	for i, name := range children {
		if found[i].name != "" {
			leaders[gerritstream.ShardID(strings.TrimPrefix(name, electionPrefix))] = found[i]
		}
	}
	return leaders, err
}

// leader reads who is first in a line. Nobody: its zero value.
func (sess *session) leader(ctx context.Context, root string) (lockHolder, error) {
	first, err := sess.firstInLine(ctx, root, 1)
	return first[0], err
}

// front reads who stands at the front of a line, so many of them. Nobody: zero
// values.
func (sess *session) firstInLine(ctx context.Context, root string, many int) ([]lockHolder, error) {
	found := make([]lockHolder, many)
	children, err := sess.children(ctx, root)
	if err != nil {
		return found, err
	}
	i := 0
	for _, c := range candidatesOf(children) {
		path := root + "/" + c.name
		n, err := sess.get(ctx, path)
		if err != nil {
			return found, err
		}
		if !n.present {
			continue
		}
		name, ours := lockOwner(n.data)
		found[i] = lockHolder{name: name, path: path}
		if ours {
			found[i].term = uint64(n.stat.Czxid)
		}
		if i++; i == many {
			break
		}
	}
	return found, nil
}

// inspectReports returns the reports of the processes that are alive. One that
// cannot be read or understood is left out: it is another version's, and for
// people.
func (s *Store) inspectReports(ctx context.Context, sess *session) (reports []gerritstream.Report, err error) {
	names, err := sess.children(ctx, s.at.reports())
	if err != nil {
		return nil, err
	}
	nodes, err := sess.eachOf(ctx, below(s.at.reports(), names), func(ctx context.Context, path string) (node, error) {
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
