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

// views are what a session has seen of the nodes that it watches. A node is
// read once and then taken from here until the server reports a change, so that
// an idle process asks nothing. A view is never older than the session's last
// answer: a server sends the event of a change before any answer that was made
// after the change, and the library hands both on in that order. Callers that
// need what others have written by now call sync first.
type views struct {
	mu          sync.Mutex
	views       map[viewKey]*view // under mu
	generations int               // under mu: given out so far, so that a node that comes back gets a new one
	armed       int               // under mu: how many watches the library holds, at most
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

// view is one node. views.mu guards it.
type view struct {
	seen       seen
	known      bool          // seen was read at least once
	current    bool          // and nothing has happened since
	generation int           // a new one after each event and on each new connection
	armed      bool          // the library holds a watch that will report the next change
	until      time.Time     // the view is not trusted for longer
	trust      time.Duration // the least time for which it is trusted next time
	fired      chan struct{} // closed when seen may be out of date; nil: it may be already
}

// seen is what was read.
type seen struct {
	node  node     // for viewChildren without data
	names []string // of its children
}

const (
	// recheckAfter is how long a watch is waited for. A lost one would leave a
	// shard without a leader.
	recheckAfter = 30 * time.Second

	// trustFirst is how long a view is trusted at least. A node that has not
	// changed is trusted twice as long the next time, up to trustMost: there
	// may be thousands of ended shards. A list of children is not.
	trustFirst = time.Minute
	trustMost  = 8 * time.Minute
)

// handleEvent takes in a change of a node. The library calls it before it reads
// on.
func (vs *views) handleEvent(e zk.Event) {
	kinds := []viewKind{viewNode, viewChildren} // created or deleted
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

// expireAll has every node read again, on a new connection. The library sets
// its watches again then, but if that request is lost as well, it does not
// notice what it has missed.
func (vs *views) expireAll() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for _, v := range vs.views {
		vs.expireLocked(v)
	}
}

// valid reports whether the view can be used without asking the server.
func (v *view) valid() bool { return v.current && time.Now().Before(v.until) }

// expireLocked notes that a view may be out of date.
func (vs *views) expireLocked(v *view) {
	vs.generations++
	v.generation = vs.generations
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

// lookup returns a copy of the view of a node, which is made if there is none.
// A fired that is not nil says that the view is valid; otherwise the node has
// to be read, and stored under the view's generation.
func (vs *views) lookup(key viewKey) view {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.views[key]
	if v == nil {
		vs.generations++
		v = &view{generation: vs.generations}
		if vs.views == nil {
			vs.views = map[viewKey]*view{}
		}
		vs.views[key] = v
	}
	found := *v
	if !v.valid() {
		found.fired = nil
	}
	return found
}

// store takes in what was read in a generation: by setting a watch, or while
// one was armed. again: that one did not report a change, and the node has to
// be read by setting another.
func (vs *views) store(key viewKey, generation int, s seen, set bool) (fired <-chan struct{}, again bool) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.views[key]
	if v == nil || v.generation != generation { // something happened meanwhile
		return alreadyFired, false
	}
	was, is := &v.seen.node, &s.node
	same := v.known && was.present == is.present && was.stat.Czxid == is.stat.Czxid
	if key.kind == viewChildren {
		same = same && was.stat.Pzxid == is.stat.Pzxid
	} else {
		same = same && was.stat.Mzxid == is.stat.Mzxid
	}
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

// drop forgets an absent node that nothing watches.
func (vs *views) drop(key viewKey, generation int) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v := vs.views[key]; v != nil && v.generation == generation && !v.armed {
		delete(vs.views, key)
	}
}

// peek returns what is known of a node if the server need not be asked.
func (vs *views) peek(key viewKey) (seen, bool) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.views[key]
	if v == nil || !v.valid() {
		return seen{}, false
	}
	return v.seen, true
}

// see returns a node, and what is closed when it may have changed. absent: a
// node that is absent is watched for; otherwise fired is nil then.
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
			sess.views.drop(key, was.generation)
			return s, nil, nil
		}
		fired, again := sess.views.store(key, was.generation, s, set)
		if !again {
			return s, fired, nil
		}
	}
}

// readView reads a node: plainly while a watch is armed, otherwise by setting
// one. set: one was set.
func (sess *session) readView(ctx context.Context, key viewKey, armed, absent bool) (s seen, set bool, err error) {
	for {
		s, err = read(ctx, sess, func(c *zk.Conn) (seen, error) { return key.fetch(c, !armed) })
		switch {
		case !errors.Is(err, zk.ErrNoNode):
			return s, !armed, err
		case armed, !absent:
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

// fetch reads a node, and sets a watch if asked to, which reports to
// handleEvent.
func (key viewKey) fetch(c *zk.Conn, watch bool) (s seen, err error) {
	var stat *zk.Stat
	switch {
	case key.kind == viewChildren && watch:
		s.names, stat, _, err = c.ChildrenW(key.path)
	case key.kind == viewChildren:
		s.names, stat, err = c.Children(key.path)
	case watch:
		s.node.data, stat, _, err = c.GetW(key.path)
	default:
		s.node.data, stat, err = c.Get(key.path)
	}
	if err != nil {
		return seen{}, err
	}
	s.node.stat, s.node.present = *stat, true
	return s, nil
}

// watchGet reads a node and watches it, whether it is there or not.
func (sess *session) watchGet(ctx context.Context, path string) (node, <-chan struct{}, error) {
	s, fired, err := sess.see(ctx, viewKey{path, viewNode}, true)
	return s.node, fired, err
}

// watchPresent reads a node and watches it if it is there.
func (sess *session) watchPresent(ctx context.Context, path string) (node, <-chan struct{}, error) {
	s, fired, err := sess.see(ctx, viewKey{path, viewNode}, false)
	return s.node, fired, err
}

// watchChildren lists a node's children and watches for others. An absent node
// has none.
func (sess *session) watchChildren(ctx context.Context, path string) ([]string, <-chan struct{}, error) {
	s, fired, err := sess.see(ctx, viewKey{path, viewChildren}, true)
	return slices.Clone(s.names), fired, err
}

// viewChildNodes returns the children of a node, by name, asking as little as
// possible.
func (sess *session) viewChildNodes(ctx context.Context, dir string) (map[string]node, error) {
	names, _, err := sess.watchChildren(ctx, dir)
	if err != nil {
		return nil, err
	}
	views, err := sess.viewAll(ctx, viewNode, below(dir, names))
	if err != nil {
		return nil, err
	}
	nodes := make([]node, len(names))
	for i := range views {
		nodes[i] = views[i].node
	}
	return byName(names, nodes), nil
}

// viewAll returns the views of nodes, in the order of their paths. What it has
// read stays known if it fails before it has read all.
func (sess *session) viewAll(ctx context.Context, kind viewKind, paths []string) ([]seen, error) {
	found := make([]seen, len(paths))
	var missing []int
	for i, path := range paths {
		var known bool
		if found[i], known = sess.views.peek(viewKey{path, kind}); !known {
			missing = append(missing, i)
		}
	}
	return found, forEach(ctx, len(missing), func(ctx context.Context, n int) (err error) {
		i := missing[n]
		found[i], _, err = sess.see(ctx, viewKey{paths[i], kind}, kind == viewChildren)
		return err
	})
}

// waitFired waits for a watch, or until it should not be trusted any longer.
func (sess *session) waitFired(ctx context.Context, fired <-chan struct{}) error {
	timer := time.NewTimer(recheckAfter)
	defer timer.Stop()
	select {
	case <-fired:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-sess.over:
		return errSessionOver
	}
	return nil
}

// alreadyFired is closed.
var alreadyFired = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
