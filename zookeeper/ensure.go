package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"

	"github.com/go-zookeeper/zk"
)

// ensured remembers which nodes of the layout were seen in a session, so that they are not looked for again.
type ensured struct {
	seeing sync.Mutex
	seen   map[string]bool // under seeing
}

func (e *ensured) saw(p string) {
	e.seeing.Lock()
	defer e.seeing.Unlock()
	if e.seen == nil {
		e.seen = map[string]bool{}
	}
	e.seen[p] = true
}

func (e *ensured) has(p string) bool {
	e.seeing.Lock()
	defer e.seeing.Unlock()
	return e.seen[p]
}

// forget has everything looked for again: somebody deleted something.
func (e *ensured) forget() {
	e.seeing.Lock()
	defer e.seeing.Unlock()
	e.seen = nil
}

// ensure makes nodes that are missing, and what is missing above them, but never the chroot.
func (k *session) ensure(ctx context.Context, paths ...string) error {
	for _, p := range paths {
		if err := k.ensureOne(ctx, p); err != nil {
			return fmt.Errorf("make %s: %w", p, err)
		}
	}
	return nil
}

func (k *session) ensureOne(ctx context.Context, p string) error {
	if p == k.store.at.chroot || p == "/" || k.has(p) {
		return nil
	}
	n, err := k.stat(ctx, p)
	if err != nil {
		return err
	}
	if !n.present {
		if err := k.ensureOne(ctx, path.Dir(p)); err != nil {
			return err
		}
		if _, err := k.create(ctx, p, nil, zk.FlagPersistent); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			k.forget()
			return err
		}
	}
	k.saw(p)
	return nil
}
