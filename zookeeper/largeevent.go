package zookeeper

import (
	"compress/zlib"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

const (
	// maxInline is the largest payload that goes into the queue's node itself.
	maxInline = maxRequest - 16<<10

	// chunkSize is how much of a large event goes into each of its nodes.
	chunkSize = 900_000

	// largeModelAPI is the model API since which Zuul reads large events in the
	// form that is written here.
	largeModelAPI = 31
)

// ReasonTooLarge is the Reason of a dead letter for an event that does not fit
// into one node while a component of Zuul is too old to read a large event.
const ReasonTooLarge = "too-large-for-zuul"

// spill writes an event that does not fit into a node of the queue into nodes
// of its own, or makes a dead letter of it. The intent comes first: by it the
// next term finds and removes whatever is left unfinished.
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
		d := gerritstream.DeadLetter{
			ID: e.ID, Shard: e.Shard, Seq: e.Seq, Sub: e.Sub, Arrived: e.Arrived, Reason: ReasonTooLarge,
			Detail: fmt.Sprintf("%d bytes do not fit into a node; large events need model API %d, one of Zuul's has %d",
				len(e.Payload), largeModelAPI, api),
		}
		storekit.SetPayload(&d, e.Payload)
		a.deadLetters = append(a.deadLetters[:len(a.deadLetters):len(a.deadLetters)], d)
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

// newUUID returns a random id in the form of Zuul's own.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// isUUID reports whether an intent's data is an id. Nothing else is made part
// of a path.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (r == '-') || !dash && !strings.ContainsRune("0123456789abcdef", r) {
			return false
		}
	}
	return true
}

// writeIntent stores which large event this term is about to write.
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

// make makes a node under the proof of leadership and of the epoch. If a reply
// is lost it tries again; the error is then zk.ErrNodeExists, as it is when the
// node was there before.
func (t *term) make(ctx context.Context, path string, data []byte) error {
	parents := false
	for changes := 0; ; {
		x := &transaction{}
		x.add(opLock, t.checkLock())
		t.guardEpoch(x)
		x.add(opUnknown, &zk.CreateRequest{Path: path, Data: data, Acl: openACL})
		failed, err := t.session.multi(ctx, x.list...)
		switch o := outcomeOf(err); {
		case o == succeeded:
			return nil
		case o == refused && x.kind(failed) == opLock:
			return errDeposed
		case o == refused && x.kind(failed) == opOrigin && isConflict(err):
			if changes++; changes > maxOriginChanges {
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
		case o == refused || o == sessionOver:
			return err
		case !storekit.Sleep(ctx, retryPause):
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// upload writes a large event: the value of event_data, compressed, in chunks.
func (a *commitAttempt) upload(ctx context.Context, id string, e *gerritstream.Entry) error {
	dir := a.term.store.at.largeEvent(id)
	makeOnce := func(path string, data []byte) error { // nobody else makes these nodes
		if err := a.term.make(ctx, path, data); !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
		return nil
	}
	if err := makeOnce(dir, []byte{}); err != nil {
		return err
	}
	chunks := &chunker{write: func(n int, chunk []byte) error {
		return makeOnce(fmt.Sprintf("%s/%010d", dir, n), chunk)
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
	if _, err := compressed.Write(appendEventTail(nil, e, a.timestamp())); err != nil { // dated as late as possible
		return err
	}
	if err := compressed.Close(); err != nil {
		return err
	}
	return chunks.flush()
}

// chunker cuts what is written into chunks. Each has memory of its own, because
// the library may still read it after write has returned.
type chunker struct {
	write func(n int, chunk []byte) error
	n     int
	chunk []byte
}

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

// flush writes the current chunk.
func (c *chunker) flush() error {
	if len(c.chunk) == 0 {
		return nil
	}
	err := c.write(c.n, c.chunk)
	c.n, c.chunk = c.n+1, nil
	return err
}

// clearIntent removes the large event that an intent names, and then the
// intent. The event was never queued: the transaction that queues it removes
// the intent.
func (t *term) clearIntent(ctx context.Context, intent []byte) error {
	sess, at := t.session, t.store.at
	if id := string(intent); isUUID(id) {
		t.store.log.Info("removing an unfinished large event", "shard", t.shard, "id", id)
		names, err := sess.children(ctx, at.largeEvent(id))
		if err != nil {
			return err
		}
		chunks := below(at.largeEvent(id), names)
		err = forEach(ctx, len(chunks), func(ctx context.Context, i int) error { return sess.remove(ctx, chunks[i]) })
		if err != nil {
			return err
		}
		if err := sess.remove(ctx, at.largeEvent(id)); err != nil {
			return err
		}
	}
	return sess.remove(ctx, at.intent(t.shard))
}

// modelAPI returns the lowest model API that Zuul's components have registered;
// known is false if there are none.
func (t *term) modelAPI(ctx context.Context) (lowest int, known bool, err error) {
	for _, kind := range componentKinds {
		components, err := t.session.readChildren(ctx, t.store.at.component(kind))
		if err != nil {
			return 0, false, err
		}
		for _, n := range components {
			if api, ok := decodeModelAPI(n.data); ok && (!known || api < lowest) {
				lowest, known = api, true
			}
		}
	}
	return lowest, known, nil
}

// decodeModelAPI reads what a component has registered. One that does not say
// which model API it has is older than that question.
func decodeModelAPI(data []byte) (api int, ok bool) {
	var component map[string]json.RawMessage
	if json.Unmarshal(data, &component) != nil || component == nil {
		return 0, false // garbage
	}
	if raw, there := component["model_api"]; there && json.Unmarshal(raw, &api) != nil {
		return 0, true
	}
	return api, true
}
