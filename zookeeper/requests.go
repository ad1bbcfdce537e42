package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

// maxBytes is the largest request that the servers take: their jute.maxbuffer,
// as it is unless somebody lowered it. They hang up on a larger one without a
// word, so that it looks like a connection that was lost, however often it is
// sent.
const maxBytes = 1_048_575

// errTooLarge: the request was not sent, because the servers would hang up on
// it.
var errTooLarge = errors.New("the request is too large for ZooKeeper")

// fit checks that the servers take a request of one or more operations.
func fit(ops ...any) error {
	if size := sizeOf(ops); size > maxBytes {
		return fmt.Errorf("%w: %d bytes, and %d are the most", errTooLarge, size, maxBytes)
	}
	return nil
}

// sizeOf is how many bytes a transaction takes. A request of one operation
// takes less.
func sizeOf(ops []any) int {
	size := 17
	for _, op := range ops {
		switch op := op.(type) {
		case *zk.CreateRequest:
			size += 48 + len(op.Path) + len(op.Data)
		case *zk.SetDataRequest:
			size += 21 + len(op.Path) + len(op.Data)
		case *zk.CheckVersionRequest:
			size += 17 + len(op.Path)
		case *zk.DeleteRequest:
			size += 17 + len(op.Path)
		default:
			panic(fmt.Sprintf("the size of %T is not known", op))
		}
	}
	return size
}

// answer is what a request came to.
type answer[T any] struct {
	value T
	err   error
}

// ask makes one request. The library's have neither context nor deadline and
// wait for as long as no server answers, so each has a goroutine of its own,
// and ask returns when ctx ends or the session is over. What becomes of the
// request then is unknown; late, if not nil, is told.
func ask[T any](ctx context.Context, sess *session, request func(*zk.Conn) (T, error), late func(T, error)) (T, error) {
	var none T
	if err := sess.slots.Acquire(ctx, 1); err != nil {
		return none, context.Cause(ctx)
	}
	answers := make(chan answer[T], 1)
	var settled atomic.Bool // by the answer, or by the caller who does not wait for it
	started := sess.run(func() {
		defer sess.slots.Release(1)
		value, err := request(sess.conn)
		if settled.CompareAndSwap(false, true) {
			answers <- answer[T]{value, err}
		} else if late != nil {
			late(value, err)
		}
	})
	if !started {
		sess.slots.Release(1)
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
	return ask(ctx, sess, request, nil)
}

// write makes a request that goes through the servers' leader: an answer proves
// that the session lives.
func write[T any](ctx context.Context, sess *session, request func(*zk.Conn) (T, error)) (T, error) {
	return writeLate(ctx, sess, request, nil)
}

// writeLate is write that tells late what becomes of a request for which its
// caller does not wait any more.
func writeLate[T any](ctx context.Context, sess *session, request func(*zk.Conn) (T, error), late func(T, error)) (T, error) {
	began := time.Now()
	value, err := ask(ctx, sess, request, late)
	if f := outcomeOf(err); f == succeeded || f == refused {
		sess.prove(began)
	}
	return value, err
}

// node is a node as read.
type node struct {
	data    []byte
	stat    zk.Stat
	present bool
}

// get reads a node. One that is not there is no error.
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

// stat looks at a node without reading it. One that is not there is no error.
func (sess *session) stat(ctx context.Context, path string) (node, error) {
	return read(ctx, sess, func(c *zk.Conn) (node, error) {
		present, stat, err := c.Exists(path)
		if err != nil || !present {
			return node{}, err
		}
		return node{stat: *stat, present: true}, nil
	})
}

// children lists a node's children. One that is not there has none.
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

// sync makes later reads of this session see at least what was written, by
// whomever, before the call.
func (sess *session) sync(ctx context.Context) error {
	_, err := write(ctx, sess, func(c *zk.Conn) (string, error) { return c.Sync(sess.store.at.zuul) })
	return err
}

// create makes a node.
func (sess *session) create(ctx context.Context, path string, data []byte, flags int32) error {
	if err := fit(&zk.CreateRequest{Path: path, Data: data}); err != nil {
		return err
	}
	_, err := write(ctx, sess, func(c *zk.Conn) (string, error) { return c.Create(path, notNull(data), flags, openACL) })
	return err
}

// set changes a node that has this version; -1: any.
func (sess *session) set(ctx context.Context, path string, data []byte, version int32) error {
	if err := fit(&zk.SetDataRequest{Path: path, Data: data}); err != nil {
		return err
	}
	_, err := write(ctx, sess, func(c *zk.Conn) (*zk.Stat, error) { return c.Set(path, notNull(data), version) })
	return err
}

// remove deletes a node, whatever its version. One that is not there is no
// error.
func (sess *session) remove(ctx context.Context, path string) error {
	_, err := write(ctx, sess, func(c *zk.Conn) (struct{}, error) { return struct{}{}, c.Delete(path, -1) })
	if errors.Is(err, zk.ErrNoNode) {
		return nil
	}
	return err
}

// multi carries out all the operations or none. When the server refuses, failed
// is the index of the operation that it refused, -1 if it names none.
func (sess *session) multi(ctx context.Context, ops ...any) (failed int, err error) {
	if err := fit(ops...); err != nil {
		return -1, err
	}
	results, err := write(ctx, sess, func(c *zk.Conn) (result, error) {
		responses, err := c.Multi(ops...)
		return result{responses, outcomeOf(err)}, err
	})
	if results.outcome != refused {
		return -1, err
	}
	for i, r := range results.responses {
		if r.Error != nil {
			return i, r.Error
		}
	}
	return -1, err
}

type result struct {
	responses []zk.MultiResponse
	outcome   outcome
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
