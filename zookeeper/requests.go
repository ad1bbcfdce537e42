package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream/internal/storekit"
)

// maxBytes is the largest request that servers take by default: their
// jute.maxbuffer. They close the connection on a larger one without an answer,
// so that it looks like a lost connection, however often it is sent.
const maxBytes = 1_048_575

// errTooLarge: the request was not sent, because the servers would close the
// connection on it.
var errTooLarge = errors.New("the request is too large for ZooKeeper")

// fit checks that the servers take a request, of this size without its length.
func fit(size int) error {
	if size > maxBytes {
		return fmt.Errorf("%w: %d bytes, the maximum is %d", errTooLarge, size, maxBytes)
	}
	return nil
}

// ask makes one request. The library's requests have neither context nor
// deadline and wait until a server answers. So each has a goroutine of its own,
// and ask returns when ctx ends or the session is over, without knowing the
// outcome; late, if not nil, is called with it afterwards.
func ask[T any](ctx context.Context, sess *session, request func(*zk.Conn) (T, error), late func(T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if err := sess.outbox.slots.Acquire(ctx, 1); err != nil {
		return none, context.Cause(ctx)
	}
	answers := make(chan answer, 1)
	var settled atomic.Bool // by the answer, or by a caller that no longer waits
	started := sess.start(func() {
		defer sess.outbox.slots.Release(1)
		value, err := request(sess.conn)
		if settled.CompareAndSwap(false, true) {
			answers <- answer{value, err}
		} else if late != nil {
			late(value, err)
		}
	})
	if !started {
		sess.outbox.slots.Release(1)
		return none, errSessionOver
	}
	var err error
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", context.Cause(ctx), errUnknownOutcome)
	case <-sess.over:
		err = errSessionOver
	}
	if !settled.CompareAndSwap(false, true) {
		a := <-answers
		return a.value, a.err
	}
	return none, err
}

// read makes a request that changes nothing.
func read[T any](ctx context.Context, sess *session, request func(*zk.Conn) (T, error)) (T, error) {
	value, err := ask(ctx, sess, request, nil)
	return value, unanswered(ctx, err)
}

// unanswered returns the error of a request that changes nothing: that nothing
// is known of its outcome matters to nobody.
func unanswered(ctx context.Context, err error) error {
	if errors.Is(err, errUnknownOutcome) {
		err = context.Cause(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("ZooKeeper has not answered in time: %w", err)
	}
	return err
}

// write makes a request that goes through the servers' leader: an answer proves
// that the session is alive.
func write[T any](ctx context.Context, sess *session, request func(*zk.Conn) (T, error)) (T, error) {
	return writeLate(ctx, sess, request, nil)
}

// writeLate is write with a function that gets the outcome if the caller no
// longer waits for it.
func writeLate[T any](
	ctx context.Context, sess *session, request func(*zk.Conn) (T, error), late func(T, error),
) (T, error) {
	began := time.Now()
	value, err := ask(ctx, sess, request, late)
	if o := outcomeOf(err); o == succeeded || o == refused {
		sess.mu.Lock()
		defer sess.mu.Unlock()
		sess.lease.prove(began)
	}
	return value, err
}

// persist makes requests that may be made twice until a server answers them,
// however often the connection is lost. It gives up when the session is over or
// ctx ends.
func (sess *session) persist(ctx context.Context, requests func() error) error {
	for {
		err := requests()
		if o := outcomeOf(err); o != notSent && o != unknown || sess.store.stopped() ||
			!storekit.Sleep(ctx, retryPause) {
			return err
		}
	}
}

// node is a node as read.
type node struct {
	data    []byte
	stat    zk.Stat
	present bool
}

// get reads a node. An absent one is no error.
func (sess *session) get(ctx context.Context, path string) (node, error) {
	n, err := read(ctx, sess, func(c *zk.Conn) (node, error) {
		data, stat, err := c.Get(path)
		if err != nil {
			return node{}, err
		}
		return node{data, *stat, true}, nil
	})
	if errors.Is(err, zk.ErrNoNode) {
		return node{}, nil
	}
	return n, err
}

// stat is get without the data.
func (sess *session) stat(ctx context.Context, path string) (node, error) {
	return read(ctx, sess, func(c *zk.Conn) (node, error) {
		present, stat, err := c.Exists(path)
		if err != nil || !present {
			return node{}, err
		}
		return node{stat: *stat, present: true}, nil
	})
}

// children lists a node's children. An absent node has none.
func (sess *session) children(ctx context.Context, path string) ([]string, error) {
	names, err := read(ctx, sess, func(c *zk.Conn) ([]string, error) {
		names, _, err := c.Children(path)
		return names, err
	})
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	return names, err
}

// readsAtOnce bounds the requests that one call has under way.
const readsAtOnce = 100

// forEach calls do for each of n indexes, many at once, until one fails.
func forEach(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// getAll reads nodes, many at once.
func (sess *session) getAll(ctx context.Context, paths ...string) ([]node, error) {
	return readAll(ctx, paths, sess.get)
}

// statAll is getAll without the data.
func (sess *session) statAll(ctx context.Context, paths []string) ([]node, error) {
	return readAll(ctx, paths, sess.stat)
}

func readAll(ctx context.Context, paths []string, one func(context.Context, string) (node, error)) ([]node, error) {
	nodes := make([]node, len(paths))
	return nodes, forEach(ctx, len(paths), func(ctx context.Context, i int) (err error) {
		nodes[i], err = one(ctx, paths[i])
		return err
	})
}

// readChildren reads the children of a node, by name. Those that are removed
// meanwhile are left out.
func (sess *session) readChildren(ctx context.Context, dir string) (map[string]node, error) {
	names, err := sess.children(ctx, dir)
	if err != nil {
		return nil, err
	}
	nodes, err := sess.getAll(ctx, below(dir, names)...)
	if err != nil {
		return nil, err
	}
	return byName(names, nodes), nil
}

// byName maps the names of the nodes that are present to them.
func byName(names []string, nodes []node) map[string]node {
	present := make(map[string]node, len(names))
	for i, name := range names {
		if nodes[i].present {
			present[name] = nodes[i]
		}
	}
	return present
}

// below returns the paths of a node's children.
func below(dir string, names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = dir + "/" + name
	}
	return paths
}

// sync makes later reads of this session include everything that anybody wrote
// before the call.
func (sess *session) sync(ctx context.Context) error {
	_, err := write(ctx, sess, func(c *zk.Conn) (string, error) { return c.Sync(sess.store.at.zuul) })
	return unanswered(ctx, err)
}

// nodeOverhead bounds the size of a request that writes a node, besides path
// and data.
const nodeOverhead = 65

// create makes a node.
func (sess *session) create(ctx context.Context, path string, data []byte, flags int32) error {
	if err := fit(nodeOverhead + len(path) + len(data)); err != nil {
		return err
	}
	_, err := write(ctx, sess, func(c *zk.Conn) (string, error) {
		return c.Create(path, notNull(data), flags, openACL)
	})
	return err
}

// set changes a node that has this version; -1: any.
func (sess *session) set(ctx context.Context, path string, data []byte, version int32) error {
	if err := fit(nodeOverhead + len(path) + len(data)); err != nil {
		return err
	}
	_, err := write(ctx, sess, func(c *zk.Conn) (*zk.Stat, error) { return c.Set(path, notNull(data), version) })
	return err
}

// remove deletes a node, whatever its version. An absent one is no error.
func (sess *session) remove(ctx context.Context, path string) error {
	_, err := write(ctx, sess, func(c *zk.Conn) (struct{}, error) { return struct{}{}, c.Delete(path, -1) })
	if errors.Is(err, zk.ErrNoNode) {
		return nil
	}
	return err
}

// multi carries out all the operations or none. When the server refuses, failed
// is the index of the operation that it refused, or -1 if it names none.
func (sess *session) multi(ctx context.Context, ops ...any) (failed int, err error) {
	request := encode(ops)
	if err := fit(len(request.bytes) - 4); err != nil {
		request.free()
		return -1, err
	}
	responses, err := write(ctx, sess, func(c *zk.Conn) ([]zk.MultiResponse, error) {
		standIn := sess.outbox.deposits.put(request)
		defer sess.outbox.deposits.remove(standIn)
		responses, err := c.Multi(&zk.CheckVersionRequest{Path: standIn})
		if o := outcomeOf(err); o == succeeded || o == refused { // the link has written it
			request.free()
		}
		return responses, err
	})
	if outcomeOf(err) == refused {
		for i, r := range responses {
			if r.Error != nil {
				return i, r.Error
			}
		}
	}
	return -1, err
}

// openACL is the access control list of every node, as Zuul's own have it.
var openACL = zk.WorldACL(zk.PermAll)

// notNull keeps ZooKeeper from storing null, which kazoo would return as None.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
