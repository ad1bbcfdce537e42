package zookeeper

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// observed are two sessions on different servers of three.
type observed struct {
	reader, writer *session
	link           *peers.Link // by which the reader goes
}

// watched opens two stores, and returns their sessions and a parent node.
func watched(t *testing.T) (o *observed, dir string) {
	t.Helper()
	ensemble := peers.SharedZooKeeper(t, peers.ZooKeeperOptions{Tick: 250 * time.Millisecond,
		MaxSessionTimeout: time.Minute, Servers: 3})
	chroot := peers.Chroot(t, ensemble)
	link := peers.NewZooKeeperLink(t, ensemble.Servers[1].Addr())
	sessions := make([]*session, 2)
	for i, host := range []string{link.Addr(), ensemble.Servers[2].Addr()} {
		s, err := Open(t.Context(), Config{Hosts: []string{host}, Chroot: chroot, Connection: "gerrit",
			SessionTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close(context.Background()) })
		if sessions[i], err = s.await(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	dir = sessions[1].store.at.positions(0)
	if err := sessions[1].ensure(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return &observed{sessions[0], sessions[1], link}, dir
}

// What was written anywhere before a sync is seen after it, although hardly
// anything is asked and the connection is lost again and again: a node's data,
// and a list of children.
func TestWhatIsSeenIsNeverOlderThanASync(t *testing.T) {
	t.Parallel()
	o, dir := watched(t)
	reader, writer, link := o.reader, o.writer, o.link
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	path := dir + "/data"
	if err := writer.create(ctx, path, []byte("0"), zk.FlagPersistent); err != nil {
		t.Fatal(err)
	}
	var written atomic.Int64 // the number in the data, and of the other nodes
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := int64(1); ; n++ {
			err := writer.set(ctx, path, strconv.AppendInt(nil, n, 10), -1)
			if err == nil {
				err = writer.create(ctx, fmt.Sprintf("%s/node-%06d", dir, n), nil, zk.FlagPersistent)
			}
			written.Store(n)
			select {
			case <-stop:
				done <- err
				return
			case <-time.After(time.Duration(n%20) * time.Millisecond):
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for reads, drops := 0, 0; written.Load() < 200; reads++ {
		if reads%100 == 99 && drops < 5 {
			drops++
			link.Drop()
		}
		before := written.Load()
		if err := reader.sync(ctx); err != nil {
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			continue // the connection is lost
		}
		nodes, err := reader.viewChildNodes(ctx, dir)
		if err != nil {
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			continue
		}
		if n, err := strconv.ParseInt(string(nodes["data"].data), 10, 64); err != nil || n < before {
			t.Fatalf("after %d was written the view is %q, %v", before, nodes["data"].data, err)
		}
		if n := int64(len(nodes)) - 1; n < before {
			t.Fatalf("after %d nodes were made the view has %d", before, n)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A watch fires for a node that is created, deleted or changed, even while the
// connection is lost.
func TestWatchesFire(t *testing.T) {
	t.Parallel()
	o, dir := watched(t)
	reader, writer, link := o.reader, o.writer, o.link
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	path := dir + "/node"
	for what, do := range map[string][2]func() error{ // what is so at first, and what then happens
		"made": {
			func() error { return nil },
			func() error { return writer.create(ctx, path, nil, zk.FlagPersistent) },
		},
		"deleted": {
			func() error { return writer.create(ctx, path, nil, zk.FlagPersistent) },
			func() error { return writer.remove(ctx, path) },
		},
		"changed": {
			func() error { return writer.create(ctx, path, nil, zk.FlagPersistent) },
			func() error { return writer.set(ctx, path, []byte("x"), -1) },
		},
		"changed while the connection is away": {
			func() error { return writer.create(ctx, path, nil, zk.FlagPersistent) },
			func() error {
				link.Cut()
				defer link.Restore()
				return writer.set(ctx, path, []byte("x"), -1)
			},
		},
	} {
		if err := do[0](); err != nil {
			t.Fatal(err)
		}
		if err := reader.sync(ctx); err != nil {
			t.Fatal(err)
		}
		was, fired, err := reader.watchGet(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := do[1](); err != nil {
			t.Fatal(err)
		}
		select {
		case <-fired:
		case <-ctx.Done():
			t.Fatalf("%s: the watch has not fired", what)
		}
		for err = errAway; err != nil && ctx.Err() == nil; { // the connection may be away yet
			if err = reader.sync(ctx); err == nil {
				var is node
				is, _, err = reader.watchGet(ctx, path)
				if err == nil && is.present == was.present && is.stat.Mzxid == was.stat.Mzxid {
					t.Errorf("%s: the view is the same as before", what)
				}
			}
		}
		if err := writer.remove(ctx, path); err != nil {
			t.Fatal(err)
		}
	}
}

// A lost watch is not trusted for ever; it fires when the loss is found out.
func TestALostWatchIsFoundOut(t *testing.T) {
	t.Parallel()
	o, dir := watched(t)
	reader, writer := o.reader, o.writer
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	path := dir + "/node"
	if err := writer.create(ctx, path, []byte("old"), zk.FlagPersistent); err != nil {
		t.Fatal(err)
	}
	if err := reader.sync(ctx); err != nil {
		t.Fatal(err)
	}
	was, fired, err := reader.watchGet(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	views, key := &reader.views, viewKey{path, viewNode}
	views.mu.Lock()
	held := views.views[key]
	delete(views.views, key) // the event will meet nobody
	views.mu.Unlock()
	if err := writer.set(ctx, path, []byte("new"), -1); err != nil {
		t.Fatal(err)
	}
	if err := reader.sync(ctx); err != nil {
		t.Fatal(err)
	}
	views.mu.Lock()
	views.views[key] = held
	if left := time.Until(held.until); left < trustFirst/2 || left > 2*trustFirst {
		t.Errorf("a watch is trusted for %v", left)
	}
	views.mu.Unlock()
	if n, _, err := reader.watchGet(ctx, path); err != nil || string(n.data) != string(was.data) {
		t.Fatalf("the view is %q, %v: the event was not lost", n.data, err)
	}
	views.mu.Lock()
	held.until = time.Now()
	views.mu.Unlock()
	if n, _, err := reader.watchGet(ctx, path); err != nil || string(n.data) != "new" {
		t.Errorf("the view is %q, %v", n.data, err)
	}
	select {
	case <-fired:
	default:
		t.Error("the watch has not fired")
	}
	if err := writer.set(ctx, path, []byte("newest"), -1); err != nil {
		t.Fatal(err)
	}
	if err := reader.sync(ctx); err != nil {
		t.Fatal(err)
	}
	if n, _, err := reader.watchGet(ctx, path); err != nil || string(n.data) != "newest" {
		t.Errorf("after that the view is %q, %v: nothing is watched any more", n.data, err)
	}
}

// An event during a read may be of a change that the answer does not have yet,
// so the answer is not kept.
func TestAnEventWhileANodeIsRead(t *testing.T) {
	var vs views
	key := viewKey{"/node", viewNode}
	old := seen{node: node{data: []byte("old"), present: true}}
	for _, what := range []zk.EventType{zk.EventNodeDeleted, zk.EventNodeDataChanged} {
		was := vs.lookup(key)
		if was.fired != nil || was.armed {
			t.Fatal("there is a view of a node that was never read")
		}
		vs.handleEvent(zk.Event{Type: what, Path: key.path}) // of another's watch
		vs.lookup(key)                                       // by somebody else
		fired, again := vs.store(key, was.generation, old, true)
		select {
		case <-fired:
		default:
			t.Errorf("%v: what was read before it counts", what)
		}
		if _, ok := vs.peek(key); ok || again {
			t.Errorf("%v: what was read is kept", what)
		}
		if vs.watching() {
			t.Errorf("%v: a watch that may have fired counts as armed", what)
		}
	}
	fired, again := vs.store(key, vs.lookup(key).generation, old, true)
	if again {
		t.Error("the node has to be read once more")
	}
	if s, ok := vs.peek(key); !ok || string(s.node.data) != "old" || !vs.watching() {
		t.Error("what was read after the event is not kept")
	}
	vs.expireAll()
	select {
	case <-fired:
	default:
		t.Error("a new connection fired no watch")
	}
	if _, ok := vs.peek(key); ok || !vs.watching() {
		t.Error("on a new connection the view is still valid")
	}
}
