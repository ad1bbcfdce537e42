package zookeeper

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// leaderships are the candidacies and terms of this process. A lock node of the
// process that belongs to neither is stale.
type leaderships struct {
	mu          sync.Mutex
	candidacies map[string]bool // under mu; by name
	terms       map[*term]bool  // under mu
}

// candidacy is one Campaign under way.
type candidacy struct {
	store *Store
	epoch int
	shard gerritstream.ShardID
	root  string // of the election
	name  string // of the lock node, without its sequence; a new one for each attempt to make a node
	doubt bool   // there may be a lock node, or it may yet appear
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
		s.log.Debug("candidacy failed; retrying", "shard", shard, "err", err)
		storekit.Sleep(ctx, pause)
		pause = min(2*pause, 2*time.Second)
	}
}

// campaign makes a lock node, waits until no other is before it and begins a
// term, all in one session.
func (c *candidacy) campaign(ctx context.Context, sess *session) (*term, error) {
	if err := sess.ensure(ctx, c.root); err != nil {
		return nil, err
	}
	for mine := ""; ; {
		if mine == "" {
			if err := c.enqueue(ctx, sess); err != nil {
				return nil, err
			}
		}
		var before string
		err := sess.persist(ctx, func() (err error) { mine, before, err = c.predecessor(ctx, sess); return })
		switch {
		case err != nil:
			return nil, err
		case mine != "" && before == "":
			return c.newTerm(ctx, sess, mine)
		case before != "":
			err := sess.persist(ctx, func() error {
				n, fired, err := sess.watchPresent(ctx, c.root+"/"+before)
				if err == nil && n.present {
					err = sess.waitFired(ctx, fired)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
	}
}

// enqueue makes a lock node. If the reply is lost it looks for the node. A node
// of an earlier attempt that appears later belongs to no live candidacy and is
// removed.
func (c *candidacy) enqueue(ctx context.Context, sess *session) error {
	c.doubt = false
	err := c.makeLockNode(ctx, sess)
	switch o := outcomeOf(err); {
	case o == succeeded:
		return nil
	case errors.Is(err, zk.ErrNoNode): // the root was deleted
		sess.forget()
		return err
	case o != unknown:
		return err
	}
	c.doubt = true
	if ctx.Err() != nil || c.store.stopped() {
		return err
	}
	found, e := c.owned(ctx, sess)
	if e == nil && found {
		c.doubt = false
		return nil
	}
	return errors.Join(err, e)
}

// owned reports whether the candidacy has a lock node that goes with this
// session.
func (c *candidacy) owned(ctx context.Context, sess *session) (found bool, err error) {
	err = sess.persist(ctx, func() error {
		children, err := sess.children(ctx, c.root)
		if err != nil {
			return err
		}
		for _, other := range candidatesOf(children) {
			if other.candidacy() == c.name {
				n, err := sess.stat(ctx, c.root+"/"+other.name)
				found = n.present && n.stat.EphemeralOwner == sess.currentLease().id
				return err
			}
		}
		return nil
	})
	return found, err
}

// makeLockNode makes a lock node under a new name, which is live until the
// candidacy is withdrawn or its term ends. If the caller stops waiting for the
// answer, the sweeper removes the node.
func (c *candidacy) makeLockNode(ctx context.Context, sess *session) error {
	id := make([]byte, idLength/2)
	_, _ = rand.Read(id) // it never fails
	s, l := c.store, &c.store.leaderships
	l.mu.Lock()
	delete(l.candidacies, c.name)
	c.name = s.process + hex.EncodeToString(id)
	l.candidacies[c.name] = true
	l.mu.Unlock()
	root, name := c.root, c.name
	return s.intercept.Write(storekit.PointCampaign, func() error {
		path := root + "/" + name + "__lock__"
		_, err := writeLate(ctx, sess, func(conn *zk.Conn) (string, error) {
			return conn.Create(path, lockData(s.config.Process), zk.FlagEphemeralSequential, openACL)
		}, func(_ string, err error) {
			if outcomeOf(err) != refused {
				s.sweeper.add(sess, root, name)
			}
		})
		return err
	})
}

// predecessor lists the candidates, and returns the candidacy's own node
// (empty: it is gone) and the one before it (empty: there is none). Stale nodes
// of this process are removed first.
func (c *candidacy) predecessor(ctx context.Context, sess *session) (mine, before string, err error) {
	for {
		children, err := sess.children(ctx, c.root)
		if err != nil {
			return "", "", err
		}
		candidates := candidatesOf(children)
		stale := c.store.staleNodes(candidates)
		if len(stale) == 0 {
			i := slices.IndexFunc(candidates, func(o candidate) bool { return o.candidacy() == c.name })
			switch {
			case i < 0:
				return "", "", nil
			case i > 0:
				before = candidates[i-1].name
			}
			return candidates[i].name, before, nil
		}
		for _, o := range stale {
			if err := sess.remove(ctx, c.root+"/"+o.name); err != nil {
				return "", "", err
			}
		}
	}
}

// withdrawGrace is how long a candidate waits for the confirmation that its
// node is gone. After that the sweeper removes it.
const withdrawGrace = 500 * time.Millisecond

// withdraw removes what an unsuccessful candidacy has left.
func (c *candidacy) withdraw(sess *session) {
	s, l := c.store, &c.store.leaderships
	l.mu.Lock()
	live := l.candidacies[c.name]
	delete(l.candidacies, c.name)
	l.mu.Unlock()
	if !live || s.stopped() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), withdrawGrace)
	defer cancel()
	if err := sess.removeLockNodes(ctx, c.root, c.name); err != nil || c.doubt {
		s.sweeper.add(sess, c.root, c.name)
	}
}

// candidate is a lock node of a shard's leader or of a candidate, ours or
// Zuul's.
type candidate struct {
	name     string // of the node
	sequence string // the digits that ZooKeeper appended
}

// candidateName is what kazoo takes for a lock node, searched anywhere in the
// name.
var candidateName = regexp.MustCompile(`__lock__(-?\d{10})$`)

// candidatesOf returns the lock nodes among the children of an election root,
// in their order of succession: the first one leads.
func candidatesOf(children []string) []candidate {
	var candidates []candidate
	for _, name := range children {
		if m := candidateName.FindStringSubmatch(name); m != nil {
			candidates = append(candidates, candidate{name, m[1]})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(strings.Compare(a.sequence, b.sequence), strings.Compare(a.name, b.name))
	})
	return candidates
}

// idLength is the length of a process' and of a candidacy's id, in hexadecimal
// digits.
const idLength = 16

// candidacy returns the process' id together with the candidacy's.
func (c candidate) candidacy() string {
	name, _, _ := strings.Cut(c.name, "__lock__")
	return name
}

// process returns the id of the process that a node of ours belongs to; empty:
// it cannot be ours. Names of kazoo's look the same: they are told apart by who
// is a member, or by the node's data.
func (c candidate) process() string {
	name, _, locked := strings.Cut(c.name, "__lock__")
	if _, err := hex.DecodeString(name); err != nil || !locked || len(name) != 2*idLength {
		return ""
	}
	return name[:idLength]
}

// lockPrefix begins the data of a lock node of ours, before the process' name.
const lockPrefix = "gerritstream "

func lockData(process string) []byte { return []byte(lockPrefix + clip(process, maxDetail)) }

// zuulListener is the name of Zuul's own listener.
const zuulListener = "Zuul (Python)"

// lockOwner returns who made a lock node, by its data, and whether it is one of
// ours.
func lockOwner(data []byte) (name string, ours bool) {
	if name, ok := strings.CutPrefix(string(data), lockPrefix); ok {
		return name, true
	}
	return zuulListener, false
}
