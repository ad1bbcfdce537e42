package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"

	"github.com/go-zookeeper/zk"
)

// ensured remembers which nodes of the layout a session has seen, so that each
// is looked for once: thousands of terms that begin together need the same
// nodes.
type ensured struct {
	mu     sync.Mutex
	seen   map[string]bool          // under mu
	making map[string]chan struct{} // under mu: looked for by a goroutine, which makes it; closed afterwards
}

// forget has every node looked for again, because somebody deleted something.
func (sess *session) forget() {
	sess.ensured.mu.Lock()
	defer sess.ensured.mu.Unlock()
	clear(sess.ensured.seen)
}

// ensure makes missing nodes and what is missing above them, except the chroot.
func (sess *session) ensure(ctx context.Context, paths ...string) error {
	for _, p := range paths {
		if err := sess.ensureOne(ctx, p); err != nil {
			return fmt.Errorf("make %s: %w", p, err)
		}
	}
	return nil
}

func (sess *session) ensureOne(ctx context.Context, p string) error {
	e := &sess.ensured
	for p != sess.store.at.chroot && p != "/" {
		e.mu.Lock()
		seen, other := e.seen[p], e.making[p]
		if !seen && other == nil {
			e.making[p] = make(chan struct{})
		}
		e.mu.Unlock()
		switch {
		case seen:
			return nil
		case other == nil:
			err := sess.makeMissing(ctx, p)
			e.mu.Lock()
			close(e.making[p])
			delete(e.making, p)
			if err == nil {
				e.seen[p] = true
			}
			e.mu.Unlock()
			return err
		}
		select {
		case <-other:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// makeMissing makes a node unless it is there.
func (sess *session) makeMissing(ctx context.Context, p string) error {
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
