package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"

	"github.com/go-zookeeper/zk"
)

// ensured remembers which nodes of the layout were seen in a session, so that
// they are not looked for again.
type ensured struct {
	seeing sync.Mutex
	seen   map[string]bool          // under seeing
	making map[string]chan struct{} // under seeing: what somebody looks for or makes; closed when that is over
}

// begin reports whether the caller is to look for a node, and to make it: then
// it calls end. Otherwise the node was seen already, and other is nil, or
// somebody else is at it until other is closed: thousands of terms that begin
// together need the same nodes.
func (e *ensured) begin(p string) (mine bool, other <-chan struct{}) {
	e.seeing.Lock()
	defer e.seeing.Unlock()
	if e.seen[p] {
		return false, nil
	}
	if busy, ok := e.making[p]; ok {
		return false, busy
	}
	if e.making == nil {
		e.making = map[string]chan struct{}{}
	}
	e.making[p] = make(chan struct{})
	return true, nil
}

// end notes that a node was looked for, and whether it is there.
func (e *ensured) end(p string, there bool) {
	e.seeing.Lock()
	defer e.seeing.Unlock()
	close(e.making[p])
	delete(e.making, p)
	if !there {
		return
	}
	if e.seen == nil {
		e.seen = map[string]bool{}
	}
	e.seen[p] = true
}

// forget has everything looked for again: somebody deleted something.
func (e *ensured) forget() {
	e.seeing.Lock()
	defer e.seeing.Unlock()
	e.seen = nil
}

// ensure makes nodes that are missing, and what is missing above them, but
// never the chroot.
func (sess *session) ensure(ctx context.Context, paths ...string) error {
	for _, p := range paths {
		if err := sess.ensureOne(ctx, p); err != nil {
			return fmt.Errorf("make %s: %w", p, err)
		}
	}
	return nil
}

func (sess *session) ensureOne(ctx context.Context, p string) error {
	if p == sess.store.at.chroot || p == "/" {
		return nil
	}
	for {
		mine, other := sess.ensured.begin(p)
		switch {
		case mine:
			err := sess.makeOne(ctx, p)
			sess.ensured.end(p, err == nil)
			return err
		case other == nil:
			return nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// makeOne makes a node that is missing.
func (sess *session) makeOne(ctx context.Context, p string) error {
	n, err := sess.stat(ctx, p)
	if err != nil || n.present {
		return err
	}
	if err := sess.ensureOne(ctx, path.Dir(p)); err != nil {
		return err
	}
	if err := sess.create(ctx, p, nil, zk.FlagPersistent); err != nil && !errors.Is(err, zk.ErrNodeExists) {
		sess.forget()
		return err
	}
	return nil
}
