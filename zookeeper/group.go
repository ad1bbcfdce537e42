package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// memberFormat is the version of the stored form of a process' member info.
const memberFormat = 1

// storedMember is the stored form: one JSON object, which the embedded struct
// is part of.
type storedMember struct {
	Format int `json:"format"`
	gerritstream.MemberInfo
}

// published is a node that this process keeps in its session, and makes again
// in each new one.
type published struct {
	dir  string
	turn chan struct{} // of capacity 1: one goroutine at a time writes the node, so that nothing overwrites newer data

	mu   sync.Mutex
	data []byte // under mu; nil: nothing was published yet
}

// Advertise implements gerritstream.Group. The info is published again in each
// new session.
func (s *Store) Advertise(ctx context.Context, info gerritstream.MemberInfo) error {
	data, err := json.Marshal(storedMember{memberFormat, info})
	if err == nil {
		err = s.publish(ctx, &s.member, storekit.PointAdvertise, data)
	}
	if err != nil {
		return fmt.Errorf("advertise: %w", err)
	}
	return nil
}

// Report implements gerritstream.Store.
func (s *Store) Report(ctx context.Context, status gerritstream.Status) error {
	data, err := encodeReport(gerritstream.Report{Process: s.config.Process, At: s.config.Now().UTC(), Status: status})
	if err == nil {
		err = s.publish(ctx, &s.report, storekit.PointReport, data)
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// encodeReport returns a report as it is stored. One that does not fit into a
// node lists fewer shards.
func encodeReport(r gerritstream.Report) ([]byte, error) {
	for {
		data, err := json.Marshal(r)
		if err != nil || len(data) <= maxRequest || len(r.Status.Shards) == 0 {
			return data, err
		}
		r.Status.Shards = r.Status.Shards[:len(r.Status.Shards)/2]
	}
}

func (s *Store) publish(ctx context.Context, p *published, point storekit.Point, data []byte) error {
	p.mu.Lock()
	p.data = data
	p.mu.Unlock()
	return s.call(ctx, func(ctx context.Context, sess *session) error {
		return s.intercept.Write(point, func() error { return sess.publish(ctx, p) })
	})
}

// republish publishes the nodes of this process in a new session.
func (s *Store) republish(sess *session) {
	for !sess.isOver() && !s.stopped() {
		err := sess.publish(s.life.ctx, &s.member)
		if err == nil {
			err = sess.publish(s.life.ctx, &s.report)
		}
		if err == nil || !storekit.Sleep(s.life.ctx, time.Second) {
			return
		}
		s.log.Debug("member info not republished; retrying", "err", err)
	}
}

// publish makes or changes a node that goes with the session.
func (sess *session) publish(ctx context.Context, p *published) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.mu.Lock()
	newest := p.data
	p.mu.Unlock()
	if newest == nil {
		return nil
	}
	path := p.dir + "/" + sess.store.process
	err := sess.set(ctx, path, newest, -1)
	if !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	if err := sess.ensure(ctx, p.dir); err != nil {
		return err
	}
	if err := sess.create(ctx, path, newest, zk.FlagEphemeral); err != nil {
		sess.forget() // in case the parent was deleted
		return err
	}
	return nil
}

// decodeMembers reads what the processes advertise. A process whose info cannot
// be understood is a member all the same.
func decodeMembers(nodes map[string]node) []gerritstream.Member {
	members := make([]gerritstream.Member, 0, len(nodes))
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		data := nodes[id].data
		m := gerritstream.Member{ID: id}
		if err := storekit.CheckFormat(data, memberFormat); err != nil {
			m.Damaged = fmt.Errorf("read member info of %s: %w", id, err)
		} else {
			m = storekit.DecodeMember(id, data)
		}
		members = append(members, m)
	}
	return members
}

// GroupState implements gerritstream.Group.
func (s *Store) GroupState(
	ctx context.Context, shards []gerritstream.ShardID,
) (state gerritstream.GroupState, err error) {
	err = s.look(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		nodes, err := sess.viewChildNodes(ctx, s.at.members())
		if err != nil {
			return err
		}
		state = gerritstream.GroupState{Self: s.process, Members: decodeMembers(nodes)}
		state.Candidates, err = s.candidates(ctx, sess, shards, state.Members)
		return err
	})
	if err != nil {
		return gerritstream.GroupState{}, fmt.Errorf("read group state: %w", err)
	}
	return state, nil
}

// candidates returns the candidates for shards, in their order of succession.
func (s *Store) candidates(
	ctx context.Context, sess *session, shards []gerritstream.ShardID, members []gerritstream.Member,
) (map[gerritstream.ShardID][]gerritstream.Candidate, error) {
	present := map[string]bool{s.process: true}
	for _, m := range members {
		present[m.ID] = true
	}
	roots := make([]string, len(shards))
	for i, shard := range shards {
		roots[i] = s.at.election(shard)
	}
	views, err := sess.viewAll(ctx, viewChildren, roots)
	if err != nil {
		return nil, err
	}
	found := make([][]gerritstream.Candidate, len(shards))
	err = forEach(ctx, len(shards), func(ctx context.Context, i int) error {
		nodes := candidatesOf(views[i].names)
		s.sweepStale(sess, roots[i], nodes)
		for _, c := range nodes {
			owner, err := s.owner(ctx, sess, roots[i], c, present)
			if err != nil {
				return err
			}
			if owner.Member != "" {
				found[i] = append(found[i], owner)
			}
		}
		return nil
	})
	candidates := make(map[gerritstream.ShardID][]gerritstream.Candidate, len(shards))
	for i, shard := range shards {
		if len(found[i]) > 0 {
			candidates[shard] = found[i]
		}
	}
	return candidates, err
}

// owner identifies a candidate; Member is empty if it has since left. The names
// of our nodes and of Python's look alike: ours begin with a present member's
// id, or their data says so.
func (s *Store) owner(
	ctx context.Context, sess *session, root string, c candidate, present map[string]bool,
) (gerritstream.Candidate, error) {
	process := c.process()
	if process != "" && present[process] {
		return gerritstream.Candidate{Member: process}, nil
	}
	path := root + "/" + c.name
	s.lockOwners.mu.Lock()
	owner, known := s.lockOwners.byPath[path]
	s.lockOwners.mu.Unlock()
	if known {
		return owner, nil
	}
	n, err := sess.get(ctx, path)
	if err != nil || !n.present {
		return gerritstream.Candidate{}, err
	}
	owner.Member = process
	if name, ours := lockOwner(n.data); !ours || process == "" {
		owner.Member = strings.TrimSpace(name + " " + strings.ToValidUTF8(string(n.data), "?"))
		owner.Foreign = true
	}
	s.lockOwners.mu.Lock()
	defer s.lockOwners.mu.Unlock()
	if len(s.lockOwners.byPath) >= maxOwners {
		clear(s.lockOwners.byPath)
	}
	s.lockOwners.byPath[path] = owner
	return owner, nil
}

// lockOwners remembers the owners of lock nodes, whose data never changes.
type lockOwners struct {
	mu     sync.Mutex
	byPath map[string]gerritstream.Candidate // under mu
}

// maxOwners bounds what is remembered; beyond it everything is forgotten.
const maxOwners = 10_000

// WaitGroupChange implements gerritstream.Group. It waits for a ZooKeeper that
// is away.
func (s *Store) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (urgent bool, err error) {
	for {
		sess, err := s.await(ctx)
		if err == nil {
			var changed bool
			if changed, urgent, err = s.compareGroup(ctx, sess, seen); changed {
				return urgent, nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case lasting(err):
			return false, fmt.Errorf("wait for a group change: %w", explain(err))
		case err != nil:
			storekit.Sleep(ctx, 200*time.Millisecond)
		}
	}
}

// compareGroup compares the group with what was seen of it. If nothing has
// changed it waits until something may have.
func (s *Store) compareGroup(
	ctx context.Context, sess *session, seen gerritstream.GroupState,
) (changed, urgent bool, err error) {
	names, fired, err := sess.watchChildren(ctx, s.at.members())
	if err != nil {
		return false, false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	either := storekit.NewSignal()
	forward := func(fired <-chan struct{}) {
		sess.start(func() {
			select {
			case <-fired:
				either.Set()
			case <-ctx.Done():
			case <-sess.over:
			}
		})
	}
	forward(fired)
	nodes := make(map[string]node, len(names))
	for _, name := range names {
		n, fired, err := sess.watchPresent(ctx, s.at.members()+"/"+name)
		if err != nil {
			return false, false, err
		}
		if n.present {
			nodes[name] = n
			forward(fired)
		}
	}
	shards := slices.Collect(maps.Keys(seen.Candidates))
	for _, shard := range shards {
		_, fired, err := sess.watchChildren(ctx, s.at.election(shard))
		if err != nil {
			return false, false, err
		}
		forward(fired)
	}
	now := gerritstream.GroupState{Members: decodeMembers(nodes)}
	if now.Candidates, err = s.candidates(ctx, sess, shards, now.Members); err != nil {
		return false, false, err
	}
	if changed, urgent = seen.Changed(now); changed {
		return changed, urgent, nil
	}
	return false, false, sess.waitFired(ctx, either)
}
