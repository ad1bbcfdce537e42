package zookeeper

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"golang.org/x/sync/errgroup"
)

// GroupState implements gerritstream.Group.
func (s *Store) GroupState(ctx context.Context, shards []gerritstream.ShardID) (m gerritstream.GroupState, err error) {
	err = s.call(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		nodes, err := sess.viewAll(ctx, s.at.members())
		if err != nil {
			return err
		}
		m = gerritstream.GroupState{Self: s.process, Members: decodeMembers(nodes)}
		m.Candidates, err = s.candidates(ctx, sess, shards, m.Members)
		return err
	})
	if err != nil {
		return gerritstream.GroupState{}, fmt.Errorf("muster: %w", err)
	}
	return m, nil
}

func decodeMembers(nodes map[string]node) []gerritstream.Member {
	members := make([]gerritstream.Member, 0, len(nodes))
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		members = append(members, decodeMember(id, nodes[id].data))
	}
	return members
}

// lines reads the lines in front of shards.
func (s *Store) candidates(ctx context.Context, sess *session, shards []gerritstream.ShardID, members []gerritstream.Member) (map[gerritstream.ShardID][]gerritstream.Candidate, error) {
	living := map[string]bool{s.process: true}
	for _, m := range members {
		living[m.ID] = true
	}
	roots := make([]string, len(shards))
	for i, shard := range shards {
		roots[i] = s.at.election(shard)
	}
	views, err := sess.viewEach(ctx, viewChildren, roots)
	if err != nil {
		return nil, err
	}
	lines := make([][]gerritstream.Candidate, len(shards))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readsAtOnce)
	for i := range shards {
		all.Go(func() error {
			waiting := candidatesOf(views[i].names)
			s.sweepStale(sess, roots[i], waiting)
			for _, c := range waiting {
				who, err := s.owner(ctx, sess, roots[i], c, living)
				if err != nil {
					return err
				}
				if who.Member != "" {
					lines[i] = append(lines[i], who)
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	found := make(map[gerritstream.ShardID][]gerritstream.Candidate, len(shards))
	for i, shard := range shards {
		if len(lines[i]) > 0 {
			found[shard] = lines[i]
		}
	}
	return found, nil
}

// whose tells who a contender is; Member is empty when it went meanwhile. The
// names of ours and of Python's look alike. Ours is one that begins with a
// living member's id, or whose data says so.
func (s *Store) owner(ctx context.Context, sess *session, root string, c candidate, living map[string]bool) (gerritstream.Candidate, error) {
	process := c.process()
	if process != "" && living[process] {
		return gerritstream.Candidate{Member: process}, nil
	}
	path := root + "/" + c.name
	if who, ok := s.lockOwners.get(path); ok {
		return who, nil
	}
	n, err := sess.get(ctx, path)
	if err != nil || !n.present {
		return gerritstream.Candidate{}, err
	}
	name, ours := lockOwner(n.data)
	who := gerritstream.Candidate{Member: process}
	if !ours || process == "" {
		who = gerritstream.Candidate{Member: strings.TrimSpace(name + " " + strings.ToValidUTF8(string(n.data), "?")), Foreign: true}
	}
	s.lockOwners.put(path, who)
	return who, nil
}

// lockOwners remembers whose lock nodes are: their data never changes.
type lockOwners struct {
	mu     sync.Mutex
	owners map[string]gerritstream.Candidate // under mu; by path
}

// maxOwners bounds what is remembered; beyond it all is forgotten.
const maxOwners = 10_000

func (l *lockOwners) get(path string) (gerritstream.Candidate, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	who, ok := l.owners[path]
	return who, ok
}

func (l *lockOwners) put(path string, who gerritstream.Candidate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owners == nil || len(l.owners) >= maxOwners {
		l.owners = map[string]gerritstream.Candidate{}
	}
	l.owners[path] = who
}

// WaitGroupChange implements gerritstream.Group. A ZooKeeper that is away is waited
// for.
func (s *Store) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (left bool, err error) {
	for {
		sess, err := s.await(ctx)
		if err == nil {
			var changed bool
			if changed, left, err = s.waitMuster(ctx, sess, seen); changed {
				return left, nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case lasting(err):
			return false, fmt.Errorf("wait for a change of members: %w", explain(err))
		case err != nil && !wait(ctx, 200*time.Millisecond):
			return false, ctx.Err()
		}
	}
}

// waitMuster compares the members with those seen, and if nothing has changed
// waits until something may have.
func (s *Store) waitMuster(ctx context.Context, sess *session, seen gerritstream.GroupState) (changed, left bool, err error) {
	names, fired, err := sess.watchChildren(ctx, s.at.members())
	if err != nil {
		return false, false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	either := make(chan struct{}, 1)
	sess.tell(ctx, fired, either)
	nodes := make(map[string]node, len(names))
	for _, name := range names {
		n, fired, err := sess.watchPresent(ctx, s.at.member(name))
		if err != nil {
			return false, false, err
		}
		if n.present {
			nodes[name] = n
			sess.tell(ctx, fired, either)
		}
	}
	if changed, left = seen.Changed(decodeMembers(nodes)); changed {
		return changed, left, nil
	}
	return false, false, sess.waitFired(ctx, either)
}

// tell sends on told when a watch fires, as long as ctx lasts.
func (sess *session) tell(ctx context.Context, fired <-chan struct{}, told chan<- struct{}) {
	sess.run(func() {
		select {
		case <-fired:
			wake(told)
		case <-ctx.Done():
		case <-sess.over:
		}
	})
}
