package zookeeper

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// deadLetterPage is how many dead letters are read at a time: 1.4 MB at most.
const deadLetterPage = 16

// reasonUnreadable is the Reason of a dead letter's node that cannot be
// understood: damaged, or of a newer version. It is shown and dropped like the
// others, and never queued.
const reasonUnreadable = "unreadable"

// deadLetterNames are the names of the dead letters that were read, by id. A
// node is named after the record's place in the stream, and belongs to that
// record for ever.
type deadLetterNames struct {
	mu   sync.Mutex
	byID map[gerritstream.EventID]string // under mu
	read map[string]bool                 // under mu; the names in byID
}

// of returns the names that are known, and whether that is all of them.
func (l *deadLetterNames) of(ids []gerritstream.EventID) (known map[gerritstream.EventID]string, all bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, all = map[gerritstream.EventID]string{}, true
	for _, id := range ids {
		name, ok := l.byID[id]
		if ok {
			known[id] = name
		}
		all = all && ok
	}
	return known, all
}

// DeadLetters implements gerritstream.Operator.
func (o *Operator) DeadLetters(ctx context.Context) iter.Seq2[gerritstream.StoredDeadLetter, error] {
	return func(yield func(gerritstream.StoredDeadLetter, error) bool) {
		names, err := o.newestDeadLetters(ctx)
		for some := range slices.Chunk(names, deadLetterPage) {
			var page []gerritstream.StoredDeadLetter
			if page, err = o.readDeadLetters(ctx, some); err != nil {
				break
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
		}
		if err != nil {
			yield(gerritstream.StoredDeadLetter{}, fmt.Errorf("read dead letters: %w", err))
		}
	}
}

// newestDeadLetters returns the names of the dead letters, the newest first.
func (o *Operator) newestDeadLetters(ctx context.Context) (names []string, err error) {
	err = o.store.look(ctx, func(ctx context.Context, sess *session) error {
		dir := o.store.at.deadLetters()
		if names, err = sess.syncedChildren(ctx, dir); err != nil {
			return err
		}
		nodes, err := sess.statAll(ctx, below(dir, names))
		if err != nil {
			return err
		}
		created := make(map[string]int64, len(names))
		for i, name := range names {
			created[name] = nodes[i].stat.Czxid
		}
		slices.SortFunc(names, func(a, b string) int {
			return cmp.Or(cmp.Compare(created[b], created[a]), cmp.Compare(len(b), len(a)), strings.Compare(b, a))
		})
		return nil
	})
	return names, err
}

// syncedChildren lists a node's children as they are now.
func (sess *session) syncedChildren(ctx context.Context, dir string) ([]string, error) {
	if err := sess.sync(ctx); err != nil {
		return nil, err
	}
	return sess.children(ctx, dir)
}

// readDeadLetters reads dead letters by name, and remembers their ids. Those
// that are gone are left out.
func (o *Operator) readDeadLetters(
	ctx context.Context, names []string,
) (found []gerritstream.StoredDeadLetter, err error) {
	var nodes []node
	err = o.store.look(ctx, func(ctx context.Context, sess *session) error {
		nodes, err = sess.getAll(ctx, below(o.store.at.deadLetters(), names)...)
		return err
	})
	if err != nil {
		return nil, err
	}
	known := &o.deadLetters
	known.mu.Lock()
	defer known.mu.Unlock()
	for i, n := range nodes {
		if !n.present {
			continue
		}
		d, err := decodeDeadLetter(n.data)
		if err != nil { // it gets an id by its name, and is its own record
			id := sha256.Sum256([]byte(names[i]))
			detail := names[i] + ": " + err.Error()
			d = gerritstream.DeadLetter{
				ID: gerritstream.EventID(id[:len(d.ID)]), Sub: gerritstream.NoSub, Reason: reasonUnreadable,
				Detail: strings.ToValidUTF8(detail[:min(len(detail), maxDetail)], "?"),
			}
			storekit.SetPayload(&d, n.data)
		}
		known.byID[d.ID], known.read[names[i]] = names[i], true
		found = append(found, gerritstream.StoredDeadLetter{
			DeadLetter: d, StoredAt: storekit.FromMillis(n.stat.Ctime),
		})
	}
	return found, nil
}

// locate returns the names of dead letters, reading what was not read yet.
// Those that are not held are left out, as far as is known without reading
// again.
func (o *Operator) locate(
	ctx context.Context, ids []gerritstream.EventID,
) (found map[gerritstream.EventID]string, err error) {
	found, all := o.deadLetters.of(ids)
	if all {
		return found, nil
	}
	var names []string
	err = o.store.look(ctx, func(ctx context.Context, sess *session) error {
		names, err = sess.syncedChildren(ctx, o.store.at.deadLetters())
		return err
	})
	if err != nil {
		return nil, err
	}
	known := &o.deadLetters
	known.mu.Lock()
	names = slices.DeleteFunc(names, func(name string) bool { return known.read[name] })
	known.mu.Unlock()
	for page := range slices.Chunk(names, deadLetterPage) {
		if _, err := o.readDeadLetters(ctx, page); err != nil {
			return nil, err
		}
		if found, all = known.of(ids); all {
			break
		}
	}
	return found, nil
}

// DeadLetter implements gerritstream.Operator.
func (o *Operator) DeadLetter(ctx context.Context, id gerritstream.EventID) (gerritstream.StoredDeadLetter, error) {
	found, err := o.locate(ctx, []gerritstream.EventID{id})
	if err == nil {
		var held []gerritstream.StoredDeadLetter
		held, err = o.readDeadLetters(ctx, slices.Collect(maps.Values(found)))
		for i := range held {
			if held[i].DeadLetter.ID == id {
				return held[i], nil
			}
		}
	}
	if err == nil {
		err = gerritstream.ErrNoDeadLetter
	}
	return gerritstream.StoredDeadLetter{}, fmt.Errorf("read dead letter %s: %w", id, err)
}

// DropDeadLetters implements gerritstream.Operator. The number of discarded
// dead letters is kept.
func (o *Operator) DropDeadLetters(ctx context.Context, ids []gerritstream.EventID) (dropped int, err error) {
	found, err := o.locate(ctx, ids)
	if err != nil {
		return 0, fmt.Errorf("drop dead letters: %w", err)
	}
	paths := below(o.store.at.deadLetters(), slices.Sorted(maps.Values(found)))
	read := func(ctx context.Context, sess *session) ([]node, int32, error) {
		nodes, err := sess.statAll(ctx, paths)
		return nodes, absent, err
	}
	return o.remove(ctx, storekit.PointDropDeadLetters, paths, read)
}

// RedriveDeadLetter implements gerritstream.Operator. The queue's limit does
// not apply.
func (o *Operator) RedriveDeadLetter(ctx context.Context, e gerritstream.Entry) error {
	found, err := o.locate(ctx, []gerritstream.EventID{e.ID})
	if err == nil && found[e.ID] == "" {
		err = gerritstream.ErrNoDeadLetter
	}
	if err == nil {
		path := o.store.at.deadLetters() + "/" + found[e.ID]
		doubt := false // it may have been carried out already
		err = o.write(ctx, storekit.PointRedrive, func(ctx context.Context, sess *session) error {
			return o.redrive(ctx, sess, path, &e, &doubt)
		})
	}
	if err != nil {
		return fmt.Errorf("redrive dead letter %s: %w", e.ID, err)
	}
	return nil
}

// redrive queues an entry and removes its dead letter. doubt is set when it may
// have been carried out.
func (o *Operator) redrive(ctx context.Context, sess *session, path string, e *gerritstream.Entry, doubt *bool) error {
	if err := sess.sync(ctx); err != nil {
		return err
	}
	n, err := sess.get(ctx, path)
	switch {
	case err != nil:
		return err
	case !n.present && *doubt:
		return fmt.Errorf("the connection was lost, and the dead letter is no longer held: %w", errUnknownOutcome)
	case !n.present:
		return gerritstream.ErrNoDeadLetter
	}
	d, err := decodeDeadLetter(n.data)
	switch {
	case err != nil:
		return err
	case d.ID != e.ID:
		return gerritstream.ErrNoDeadLetter
	case len(d.Payload) < d.Length:
		return gerritstream.ErrTruncated
	case len(e.Payload)+envelopeOverhead > maxInline:
		return fmt.Errorf("%d bytes do not fit into a node of Zuul's queue", len(e.Payload))
	}
	at := o.store.at
	if err := sess.ensure(ctx, at.queue()); err != nil {
		return sess.conflict(err)
	}
	// The event is dated by its arrival: an operator does not know the
	// service's clock, Zuul waits until a timestamp has come, and it need not
	// wait for what it counts from one that is past.
	timestamp := o.store.config.Now()
	if !e.Arrived.IsZero() && !timestamp.Before(e.Arrived) {
		timestamp = e.Arrived
	}
	_, err = sess.multi(ctx,
		&zk.DeleteRequest{Path: path, Version: n.stat.Version},
		&zk.CreateRequest{
			Path: at.queueNode(), Data: appendEnvelope(nil, e, timestamp), Acl: openACL, Flags: zk.FlagSequence,
		})
	if err == nil {
		return nil
	}
	*doubt = *doubt || outcomeOf(err) == unknown
	return sess.again(ctx, err)
}
