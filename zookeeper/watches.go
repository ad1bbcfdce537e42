package zookeeper

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// views are what a session has seen of nodes that it watches. A node is read
// once and then taken from here until the server says that it has changed: at
// rest nothing is asked. What is taken from here is never older than what the
// session has been answered last, for a server sends the event of a change
// before any answer that was made after it, and the library hands both on in
// that order. A caller that needs to know what others have written by now calls
// sync before.
type views struct {
	mu    sync.Mutex
	views map[viewKey]*view // under viewing
	turns int               // under viewing: given out so far; a node that comes back begins with a new one
	armed int               // under viewing: how many watches the library holds, at most
}

type viewKey struct {
	path string
	kind viewKind
}

type viewKind int

const (
	viewNode     viewKind = iota // a node's data
	viewChildren                 // the names below it
)

// view is one node. views.viewing guards it.
type view struct {
	seen    seen
	known   bool          // seen was read, once
	current bool          // and nothing has happened since
	turn    int           // another one after each event, and on each new connection
	armed   bool          // the library holds a watch that will tell of the next change
	until   time.Time     // not taken on trust any longer
	trust   time.Duration // for how long the next time, at least
	fired   chan struct{} // closed when seen may not be so any more; nil: it may not
}

// seen is what was read.
type seen struct {
	node           // its data, or for viewChildren nothing but its state
	names []string // of its children
}

// same compares what was read twice, one after the other.
func (key viewKey) same(a, b *seen) bool {
	if key.kind == viewChildren && a.stat.Pzxid != b.stat.Pzxid || key.kind == viewNode && a.stat.Mzxid != b.stat.Mzxid {
		return false
	}
	return a.present == b.present && a.stat.Czxid == b.stat.Czxid
}

const (
	// lookAgain is for how long a watch is trusted. One that got lost would
	// leave a shard without a leader.
	lookAgain = 30 * time.Second

	// trustFirst is how long a view is trusted at least. A node that did not
	// change is trusted twice as long the next time, up to trustMost: there may
	// be thousands of shards that have ended. The list of a node's children is
	// not.
	trustFirst = time.Minute
	trustMost  = 8 * time.Minute
)

// happened takes in an event. The library calls it before it reads on.
func (vs *views) happened(e zk.Event) {
	kinds := []viewKind{viewNode, viewChildren} // made or deleted
	switch e.Type {
	case zk.EventNodeDataChanged:
		kinds = kinds[:1]
	case zk.EventNodeChildrenChanged:
		kinds = kinds[1:]
	case zk.EventNodeCreated, zk.EventNodeDeleted:
	default:
		return
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for _, kind := range kinds {
		key := viewKey{e.Path, kind}
		v := vs.views[key]
		if v == nil {
			continue
		}
		vs.armLocked(v, false)
		v.trust = 0
		vs.expireLocked(v)
		if e.Type == zk.EventNodeDeleted {
			delete(vs.views, key)
		}
	}
}

// expireAll has everybody look again, on a new connection. The library sets its
// watches again then; should that be lost as well, it does not notice what it
// has missed.
func (vs *views) expireAll() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for _, v := range vs.views {
		vs.expireLocked(v)
	}
}

// stands reports whether what was seen is still so, and need not be asked.
func (v *view) stands() bool { return v.current && time.Now().Before(v.until) }

// expireLocked notes that what was seen may not be so any more.
func (vs *views) expireLocked(v *view) {
	vs.turns++
	v.turn = vs.turns
	v.current = false
	if v.fired != nil {
		close(v.fired)
		v.fired = nil
	}
}

// armLocked keeps count of the watches.
func (vs *views) armLocked(v *view, armed bool) {
	if v.armed != armed {
		v.armed = armed
		if armed {
			vs.armed++
		} else {
			vs.armed--
		}
	}
}

// watching reports whether the library holds watches, which it sets again on
// the next connection.
func (vs *views) watching() bool {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.armed > 0
}

// looked is what a look at a view comes to.
type looked struct {
	seen  seen
	fired <-chan struct{} // nil: what was seen may not be so any more
	armed bool            // a watch stands
	turn  int             // to hand to take
}

// taken returns what was seen, if that is still so, and what to read a node
// with otherwise.
func (vs *views) lookup(key viewKey) looked {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.views[key]
	if v == nil {
		vs.turns++
		v = &view{turn: vs.turns}
		if vs.views == nil {
			vs.views = map[viewKey]*view{}
		}
		vs.views[key] = v
	}
	if v.stands() {
		return looked{v.seen, v.fired, true, v.turn}
	}
	return looked{armed: v.armed, turn: v.turn}
}

// take takes in what was read in a turn: by setting a watch, or while one
// stood. again: that one did not tell of a change, and the node is to be read
// by setting another.
func (vs *views) store(key viewKey, turn int, s seen, set bool) (fired <-chan struct{}, again bool) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.views[key]
	if v == nil || v.turn != turn { // something has happened since it was asked for
		return alreadyFired, false
	}
	same := v.known && key.same(&v.seen, &s)
	if !same {
		vs.expireLocked(v)
		v.trust = 0
	}
	if !same && !set {
		vs.armLocked(v, false)
		return nil, true
	}
	vs.armLocked(v, true)
	v.seen, v.known, v.current = s, true, true
	if v.fired == nil {
		v.fired = make(chan struct{})
	}
	v.trust = max(v.trust, trustFirst)
	v.until = time.Now().Add(v.trust + rand.N(v.trust/2)) //nolint:gosec // jitter is no secret
	if key.kind == viewNode {
		v.trust = min(2*v.trust, trustMost)
	}
	return v.fired, false
}

// drop forgets a node that is not there and that nothing watches for.
func (vs *views) drop(key viewKey, turn int) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v := vs.views[key]; v != nil && v.turn == turn && !v.armed {
		delete(vs.views, key)
	}
}

// peek returns what a node is, if that need not be asked.
func (vs *views) peek(key viewKey) (seen, bool) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.views[key]
	if v == nil || !v.stands() {
		return seen{}, false
	}
	return v.seen, true
}

// see returns what a node is, and what is closed when it may be so no more.
// absent: a node that is not there is watched for; otherwise fired is nil then.
func (sess *session) see(ctx context.Context, key viewKey, absent bool) (seen, <-chan struct{}, error) {
	for {
		was := sess.views.lookup(key)
		if was.fired != nil {
			return was.seen, was.fired, nil
		}
		s, set, err := sess.readView(ctx, key, was.armed, absent)
		switch {
		case err != nil:
			return seen{}, nil, err
		case !was.armed && !set:
			sess.views.drop(key, was.turn)
			return s, nil, nil
		}
		fired, again := sess.views.store(key, was.turn, s, set)
		if !again {
			return s, fired, nil
		}
	}
}

// readView reads a node: plainly while a watch stands, by setting one
// otherwise. set: one was set.
func (sess *session) readView(ctx context.Context, key viewKey, standing, absent bool) (s seen, set bool, err error) {
	if standing {
		s, err = read(ctx, sess, key.get)
		if errors.Is(err, zk.ErrNoNode) {
			return seen{}, false, nil
		}
		return s, false, err
	}
	for {
		s, err = read(ctx, sess, key.watch)
		if !errors.Is(err, zk.ErrNoNode) {
			return s, true, err
		}
		if !absent {
			return seen{}, false, nil
		}
		present, err := read(ctx, sess, func(c *zk.Conn) (bool, error) {
			present, _, _, err := c.ExistsW(key.path)
			return present, err
		})
		if err != nil || !present {
			return seen{}, true, err
		}
	}
}

// get reads a node.
func (key viewKey) get(c *zk.Conn) (s seen, err error) {
	var stat *zk.Stat
	if key.kind == viewChildren {
		s.names, stat, err = c.Children(key.path)
	} else {
		s.data, stat, err = c.Get(key.path)
	}
	return s.found(stat, err)
}

// watch does the same and sets a watch. What it tells comes by way of happened.
func (key viewKey) watch(c *zk.Conn) (s seen, err error) {
	var stat *zk.Stat
	if key.kind == viewChildren {
		s.names, stat, _, err = c.ChildrenW(key.path)
	} else {
		s.data, stat, _, err = c.GetW(key.path)
	}
	return s.found(stat, err)
}

func (s *seen) found(stat *zk.Stat, err error) (seen, error) {
	if err != nil {
		return seen{}, err
	}
	s.stat, s.present = *stat, true
	return *s, nil
}

// watchGet reads a node and watches it, be it there or not.
func (sess *session) watchGet(ctx context.Context, path string) (node, <-chan struct{}, error) {
	s, fired, err := sess.see(ctx, viewKey{path, viewNode}, true)
	return s.node, fired, err
}

// watchPresent watches a node that is there. present is false, and nothing is
// watched, when it is not.
func (sess *session) watchPresent(ctx context.Context, path string) (n node, fired <-chan struct{}, err error) {
	s, fired, err := sess.see(ctx, viewKey{path, viewNode}, false)
	return s.node, fired, err
}

// watchChildren lists a node's children and watches for other ones. One that is
// not there has none.
func (sess *session) watchChildren(ctx context.Context, path string) ([]string, <-chan struct{}, error) {
	s, fired, err := sess.see(ctx, viewKey{path, viewChildren}, true)
	return slices.Clone(s.names), fired, err
}

// alreadyFired is a watch that has.
var alreadyFired = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
