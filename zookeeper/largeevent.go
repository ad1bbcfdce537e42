package zookeeper

import (
	"compress/zlib"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"
)

const (
	// maxInline is how large a payload may be that goes into the queue's node
	// itself.
	maxInline = maxRequest - 16<<10

	// chunkSize is how much of a larger one goes into each node of the side
	// data.
	chunkSize = 900_000

	// sideModelAPI is the model API from which on Zuul reads side data in the
	// form that is written here.
	largeModelAPI = 31
)

// ReasonTooLarge is the Reason of a dead letter for an event that the Zuul that
// is running could not read: it does not fit into one node, and an older
// component is there that knows another form of large events.
const ReasonTooLarge = "too-large-for-zuul"

// layAside puts an event that does not fit into a node of the queue into nodes
// of its own, or makes a dead letter of it. The intent comes first: whatever is
// left half done, the next term finds by it and removes.
func (a *commitAttempt) spill(ctx context.Context) error {
	if len(a.entries) != 1 || len(a.entries[0].Payload)+envelopeOverhead <= maxInline {
		return nil
	}
	t, e := a.term, &a.entries[0]
	api, known, err := t.modelAPI(ctx)
	if err != nil {
		return fmt.Errorf("read Zuul's components: %w", err)
	}
	if known && api < largeModelAPI {
		a.deadLetters = append(a.deadLetters[:len(a.deadLetters):len(a.deadLetters)], tooLarge(e, api))
		a.entries = nil
		return nil
	}
	id := newUUID()
	if err := t.writeIntent(ctx, id); err != nil {
		return fmt.Errorf("write intent: %w", err)
	}
	if err := a.upload(ctx, id, e); err != nil {
		return fmt.Errorf("write large event: %w", err)
	}
	a.largeID = id
	return nil
}

// tooLarge is the dead letter for an event that this Zuul could not read.
func tooLarge(e *gerritstream.Entry, api int) gerritstream.DeadLetter {
	return gerritstream.DeadLetter{
		ID: e.ID, Shard: e.Shard, Seq: e.Seq, Sub: e.Sub, Arrived: e.Arrived, Reason: ReasonTooLarge,
		Detail: fmt.Sprintf("%d bytes do not fit into a node, and one of Zuul's components speaks model API %d: large events need %d",
			len(e.Payload), api, largeModelAPI),
		Payload: e.Payload[:min(len(e.Payload), gerritstream.MaxDeadLetterBytes)],
		Length:  len(e.Payload), SHA256: sha256.Sum256(e.Payload),
	}
}

// newUUID returns a random id in the form that Zuul's own have.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// isUUID tells whether an intent's data is an id: what is anything else is not
// made a path of.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (r == '-') || !dash && !isHexDigit(r) {
			return false
		}
	}
	return true
}

func isHexDigit(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'f' }

// writeIntent says which side data this term is about to write.
func (t *term) writeIntent(ctx context.Context, id string) error {
	path := t.store.at.intent(t.shard)
	err := t.make(ctx, path, []byte(id))
	if !errors.Is(err, zk.ErrNodeExists) {
		return err
	}
	n, err := t.session.get(ctx, path)
	switch {
	case err != nil:
		return err
	case n.present && string(n.data) == id:
		return nil
	case n.present:
		if err := t.clearIntent(ctx, n.data); err != nil {
			return err
		}
	}
	return t.make(ctx, path, []byte(id))
}

// make makes a node under the proof of leadership and of the epoch. When a
// reply was lost it tries again; then, as well as when there was one before,
// the error is zk.ErrNodeExists.
func (t *term) make(ctx context.Context, path string, data []byte) error {
	parents := false
	for starts := 0; ; {
		x := &transaction{}
		x.add(opLock, t.checkLock())
		t.guardEpoch(x)
		x.add(opUnknown, &zk.CreateRequest{Path: path, Data: data, Acl: openACL})
		failed, err := t.session.multi(ctx, x.list...)
		switch f := outcomeOf(err); {
		case f == succeeded:
			return nil
		case f == refused && x.kind(failed) == opLock:
			return errDeposed
		case f == refused && x.kind(failed) == opOrigin && isConflict(err):
			if starts++; starts > maxOriginChanges {
				return errOriginChanging
			}
			if err := t.checkEpoch(ctx); err != nil {
				return err
			}
		case errors.Is(err, zk.ErrNoNode) && !parents:
			parents = true
			t.session.forget()
			if err := t.session.ensure(ctx, t.store.at.largeEvents(), t.store.at.intents()); err != nil {
				return err
			}
		case f == refused || f == sessionOver:
			return err
		case !wait(ctx, 50*time.Millisecond):
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// upload writes an event's side data: the value of event_data, compressed, in
// chunks.
func (a *commitAttempt) upload(ctx context.Context, id string, e *gerritstream.Entry) error {
	t := a.term
	dir := t.store.at.largeEvent(id)
	if err := t.makeOnce(ctx, dir, nil); err != nil {
		return err
	}
	chunks := &chunker{write: func(n int, chunk []byte) error {
		return t.makeOnce(ctx, fmt.Sprintf("%s/%010d", dir, n), chunk)
	}}
	compressed, err := zlib.NewWriterLevel(chunks, 6)
	if err != nil {
		return err
	}
	for _, part := range [][]byte{[]byte(eventOpen), e.Payload} {
		if _, err := compressed.Write(part); err != nil {
			return err
		}
	}
	if _, err := compressed.Write(appendEventTail(nil, e, a.timestamp())); err != nil { // dated as late as can be
		return err
	}
	if err := compressed.Close(); err != nil {
		return err
	}
	return chunks.flush()
}

// makeOnce makes a node that nobody else makes.
func (t *term) makeOnce(ctx context.Context, path string, data []byte) error {
	if err := t.make(ctx, path, notNull(data)); !errors.Is(err, zk.ErrNodeExists) {
		return err
	}
	return nil
}

// chunker cuts what is written into chunks. Each has memory of its own: the
// library may read it for longer than write takes.
type chunker struct {
	write func(n int, chunk []byte) error
	n     int
	chunk []byte
}

// Write implements io.Writer.
func (c *chunker) Write(p []byte) (int, error) {
	for written := 0; ; {
		if c.chunk == nil {
			c.chunk = make([]byte, 0, chunkSize)
		}
		room := min(chunkSize-len(c.chunk), len(p)-written)
		c.chunk = append(c.chunk, p[written:written+room]...)
		if written += room; written == len(p) {
			return written, nil
		}
		if err := c.flush(); err != nil {
			return written, err
		}
	}
}

// flush writes what there is.
func (c *chunker) flush() error {
	if len(c.chunk) == 0 {
		return nil
	}
	err := c.write(c.n, c.chunk)
	c.n, c.chunk = c.n+1, nil
	return err
}

// clearIntent removes the side data that an intent names, and then the intent.
// It was never queued: the transaction that queues it removes the intent.
func (t *term) clearIntent(ctx context.Context, intent []byte) error {
	sess, at := t.session, t.store.at
	if id := string(intent); isUUID(id) {
		t.store.log.Info("removing what an unfinished large event has left", "shard", t.shard, "id", id)
		names, err := sess.children(ctx, at.largeEvent(id))
		if err != nil {
			return err
		}
		all, deleting := errgroup.WithContext(ctx)
		all.SetLimit(readsAtOnce)
		for _, name := range names {
			all.Go(func() error { return sess.remove(deleting, at.largeEvent(id)+"/"+name) })
		}
		if err := all.Wait(); err != nil {
			return err
		}
		if err := sess.remove(ctx, at.largeEvent(id)); err != nil {
			return err
		}
	}
	return sess.remove(ctx, at.intent(t.shard))
}

// modelAPI returns the lowest model API that Zuul's components say they speak.
// known is false when there are none.
func (t *term) modelAPI(ctx context.Context) (lowest int, known bool, err error) {
	for _, kind := range componentKinds {
		dir := t.store.at.component(kind)
		names, err := t.session.children(ctx, dir)
		if err != nil {
			return 0, false, err
		}
		for _, name := range names {
			n, err := t.session.get(ctx, dir+"/"+name)
			if err != nil {
				return 0, false, err
			}
			if api, ok := decodeModelAPI(n.data); ok && (!known || api < lowest) {
				lowest, known = api, true
			}
		}
	}
	return lowest, known, nil
}

// decodeModelAPI reads what a component says of itself. One that does not say
// which model API it speaks is older than the question.
func decodeModelAPI(data []byte) (api int, ok bool) {
	var component map[string]json.RawMessage
	if json.Unmarshal(data, &component) != nil || component == nil {
		return 0, false // garbage, or gone meanwhile
	}
	if raw, there := component["model_api"]; there && json.Unmarshal(raw, &api) != nil {
		return 0, true
	}
	return api, true
}
