package zookeeper

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/go-zookeeper/zk"
)

// candidacy is one Campaign under way.
type candidacy struct {
	store *Store
	epoch int
	shard gerritstream.ShardID
	root  string
	name  string // of the lock node, without its turn; a new one for each attempt to make a node
	doubt bool   // whether there is one is not known, or there may yet be one
}

// Campaign implements gerritstream.Store. Besides the context's, its errors are
// ErrConfig, ErrNewerFormat, ErrStaleEpoch, and a refusal of access.
func (s *Store) Campaign(ctx context.Context, epoch int, shard gerritstream.ShardID) (gerritstream.Term, error) {
	c := &candidacy{store: s, epoch: epoch, shard: shard, root: s.at.election(shard)}
	pause := 50 * time.Millisecond
	for {
		sess, err := s.await(ctx)
		if err == nil {
			var t *term
			if t, err = c.campaign(ctx, sess); err == nil {
				return t, nil
			}
			c.withdraw(sess)
		}
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("campaign for %s: %w", shard, ctx.Err())
		case s.stopped():
			return nil, fmt.Errorf("campaign for %s: %w", shard, errClosed)
		case lasting(err):
			return nil, fmt.Errorf("campaign for %s: %w", shard, explain(err))
		}
		s.log.Debug("candidacy failed: trying again", "shard", shard, "err", err)
		if !wait(ctx, pause) {
			return nil, fmt.Errorf("campaign for %s: %w", shard, ctx.Err())
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// wait waits. false: ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// campaign queues up, waits for its turn and begins a term, all in one session.
func (c *candidacy) campaign(ctx context.Context, sess *session) (*term, error) {
	if err := sess.ensure(ctx, c.root); err != nil {
		return nil, err
	}
	if err := c.enqueue(ctx, sess); err != nil {
		return nil, err
	}
	for {
		mine, before, err := c.predecessor(ctx, sess)
		switch {
		case err != nil:
			return nil, err
		case mine == "":
			if err := c.enqueue(ctx, sess); err != nil {
				return nil, err
			}
			continue
		case before != "":
			if err := c.waitForPredecessor(ctx, sess, before); err != nil {
				return nil, err
			}
			continue
		}
		return c.newTerm(ctx, sess, mine)
	}
}

// queueUp makes a lock node. When the reply is lost, the line is asked whether
// there is one; an earlier attempt's node that turns up later belongs to no
// living candidacy and is removed.
func (c *candidacy) enqueue(ctx context.Context, sess *session) error {
	c.rename()
	c.doubt = false
	err := c.store.write(pointCampaign, func() error { return c.makeNode(ctx, sess) })
	switch f := outcomeOf(err); {
	case f == succeeded:
		return nil
	case errors.Is(err, zk.ErrNoNode): // the root was deleted
		sess.forget()
		return err
	case f != unknown:
		return err
	}
	c.doubt = true
	if ctx.Err() != nil || c.store.stopped() {
		return err
	}
	children, e := sess.children(ctx, c.root)
	if e != nil {
		return e
	}
	for _, other := range candidatesOf(children) {
		if other.candidacy() != c.name {
			continue
		}
		id, _ := sess.identity()
		if n, e := sess.stat(ctx, c.root+"/"+other.name); e != nil || !n.present || n.stat.EphemeralOwner != id {
			return errors.Join(err, e)
		}
		c.doubt = false
		return nil
	}
	return err
}

// makeNode makes the lock node. If nobody waits for the answer any more, what
// it made is removed.
func (c *candidacy) makeNode(ctx context.Context, sess *session) error {
	path, root, name := c.root+"/"+c.name+"__lock__", c.root, c.name
	_, err := writeLate(ctx, sess, func(conn *zk.Conn) (string, error) {
		return conn.Create(path, lockData(c.store.config.Process), zk.FlagEphemeralSequential, openACL)
	}, func(_ string, err error) {
		if outcomeOf(err) != refused {
			c.store.addOrphan(sess, root, name)
		}
	})
	return err
}

// rename gives the candidacy a new name, which lives until it is withdrawn or
// its term ends.
func (c *candidacy) rename() {
	id := make([]byte, idLength/2)
	_, _ = rand.Read(id) // it never fails
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.candidacies, c.name)
	c.name = s.process + hex.EncodeToString(id)
	s.candidacies[c.name] = true
}

// look lists the line: the candidate's own node (empty: it is gone) and the one
// before it (empty: it leads). Nodes of this process that belong to no living
// candidacy are removed.
func (c *candidacy) predecessor(ctx context.Context, sess *session) (mine, before string, err error) {
	for {
		children, err := sess.children(ctx, c.root)
		if err != nil {
			return "", "", err
		}
		waiting := candidatesOf(children)
		ghosts := c.store.staleNodes(waiting)
		if len(ghosts) == 0 {
			i := slices.IndexFunc(waiting, func(o candidate) bool { return o.candidacy() == c.name })
			switch {
			case i < 0:
				return "", "", nil
			case i > 0:
				before = waiting[i-1].name
			}
			return waiting[i].name, before, nil
		}
		for _, ghost := range ghosts {
			if err := sess.remove(ctx, c.root+"/"+ghost.name); err != nil {
				return "", "", err
			}
		}
	}
}

// waitBehind waits until the node before the candidate's is gone, or it is time
// to look again.
func (c *candidacy) waitForPredecessor(ctx context.Context, sess *session, before string) error {
	n, fired, err := sess.watchPresent(ctx, c.root+"/"+before)
	if err != nil || !n.present {
		return err
	}
	return sess.waitFired(ctx, fired)
}

// withdrawGrace is how long a candidate waits for the confirmation that its
// node is gone. Later the sweeper sees to it.
const withdrawGrace = 500 * time.Millisecond

// withdraw removes what an unsuccessful candidacy has left.
func (c *candidacy) withdraw(sess *session) {
	s := c.store
	s.mu.Lock()
	known := s.candidacies[c.name]
	delete(s.candidacies, c.name)
	s.mu.Unlock()
	if !known || s.stopped() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), withdrawGrace)
	defer cancel()
	if err := s.removeNodes(ctx, sess, c.root, c.name); err != nil || c.doubt {
		s.addOrphan(sess, c.root, c.name)
	}
}
