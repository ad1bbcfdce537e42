package zookeeper

import (
	"context"
	"errors"
	"sync"

	"github.com/go-zookeeper/zk"
)

// watches are those that stand in a session: one for each node and kind, shared by all who wait, because the library knows
// no way to take one back.
type watches struct {
	watching sync.Mutex
	live     map[watchKey]chan struct{} // under watching; closed when the watch fires
	held     int                        // under watching; how many the library holds
}

type watchKey struct {
	path string
	kind watchKind
}

type watchKind int

const (
	watchNode     watchKind = iota // its data, and its end
	watchAbsence                   // its beginning
	watchChildren                  // and its end
)

// standing returns the watch that stands already; nil: none does.
func (w *watches) standing(key watchKey) <-chan struct{} {
	w.watching.Lock()
	defer w.watching.Unlock()
	if fired, ok := w.live[key]; ok {
		return fired
	}
	return nil
}

// share takes in a new watch of the library's.
func (k *session) share(key watchKey, events <-chan zk.Event) <-chan struct{} {
	fired := make(chan struct{})
	k.watching.Lock()
	if other, ok := k.live[key]; ok { // two asked at once; whoever has the other looks again
		close(other)
	}
	k.live[key] = fired
	k.held++
	k.watching.Unlock()
	k.running.Go(func() {
		<-events // it comes at the end of the library's work at the latest
		k.watching.Lock()
		defer k.watching.Unlock()
		k.held--
		if k.live[key] == fired { // otherwise it was fired already
			delete(k.live, key)
			close(fired)
		}
	})
	return fired
}

// holds tells whether the library holds watches, which it sets anew on the next connection.
func (w *watches) holds() bool {
	w.watching.Lock()
	defer w.watching.Unlock()
	return w.held > 0
}

// fireAll has everybody look again. The library sets its watches anew when it is connected again; should that be lost as well, it
// does not notice what it has missed.
func (w *watches) fireAll() {
	w.watching.Lock()
	defer w.watching.Unlock()
	for key, fired := range w.live {
		delete(w.live, key)
		close(fired)
	}
}

// watched is what a node was, and what is closed when it may be so no more.
type watched[T any] struct {
	value T
	fired <-chan struct{}
}

// watchGet reads a node and watches it, be it there or not.
func (k *session) watchGet(ctx context.Context, path string) (node, <-chan struct{}, error) {
	n, fired, err := k.watchPresent(ctx, path)
	if err == nil && !n.present {
		fired, err = k.watchAbsence(ctx, path)
	}
	return n, fired, err
}

// watchPresent watches a node that is there. present is false, and nothing is watched, when it is not.
func (k *session) watchPresent(ctx context.Context, path string) (n node, fired <-chan struct{}, err error) {
	key := watchKey{path, watchNode}
	if fired := k.standing(key); fired != nil {
		n, err := k.get(ctx, path)
		return n, fired, err
	}
	w, err := read(ctx, k, func(c *zk.Conn) (watched[node], error) {
		data, stat, events, err := c.GetW(path)
		if err != nil {
			return watched[node]{}, err
		}
		return watched[node]{node{data, *stat, true}, k.share(key, events)}, nil
	})
	if errors.Is(err, zk.ErrNoNode) {
		return node{}, nil, nil
	}
	return w.value, w.fired, err
}

// watchAbsence watches for a node that was not there. If it is there now, the watch has fired.
func (k *session) watchAbsence(ctx context.Context, path string) (<-chan struct{}, error) {
	key := watchKey{path, watchAbsence}
	if fired := k.standing(key); fired != nil {
		n, err := k.stat(ctx, path)
		if err == nil && n.present {
			return alreadyFired, nil
		}
		return fired, err
	}
	return read(ctx, k, func(c *zk.Conn) (<-chan struct{}, error) {
		present, _, events, err := c.ExistsW(path)
		if err != nil {
			return nil, err
		}
		fired := k.share(key, events)
		if present {
			return alreadyFired, nil
		}
		return fired, nil
	})
}

// watchChildren lists a node's children and watches for other ones. One that is not there has none.
func (k *session) watchChildren(ctx context.Context, path string) ([]string, <-chan struct{}, error) {
	key := watchKey{path, watchChildren}
	if fired := k.standing(key); fired != nil {
		names, err := k.children(ctx, path)
		return names, fired, err
	}
	w, err := read(ctx, k, func(c *zk.Conn) (watched[[]string], error) {
		names, _, events, err := c.ChildrenW(path)
		if err != nil {
			return watched[[]string]{}, err
		}
		return watched[[]string]{names, k.share(key, events)}, nil
	})
	if errors.Is(err, zk.ErrNoNode) {
		fired, err := k.watchAbsence(ctx, path)
		return nil, fired, err
	}
	return w.value, w.fired, err
}

// alreadyFired is a watch that has.
var alreadyFired = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
