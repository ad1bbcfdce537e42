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
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/go-zookeeper/zk"
)

// letterPage is how many dead letters are read at a time: 1.4 MB at most.
const deadLetterPage = 16

// reasonUnreadable is the Reason of what stands among the dead letters and
// cannot be understood: damaged, or of a newer version. It is shown and dropped
// like the others, and never queued.
const reasonUnreadable = "unreadable"

// letterNames are the names of the dead letters by their ids, as far as they
// were read: a node is named after the record's place. A name belongs to the
// same record for ever.
type deadLetterNames struct {
	mu   sync.Mutex
	byID map[gerritstream.EventID]string // under mu
	read map[string]bool                 // under mu; the names in byID
}

func (l *deadLetterNames) put(id gerritstream.EventID, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID == nil {
		l.byID, l.read = map[gerritstream.EventID]string{}, map[string]bool{}
	}
	l.byID[id], l.read[name] = name, true
}

// of returns the names of those that are known.
func (l *deadLetterNames) of(ids []gerritstream.EventID) map[gerritstream.EventID]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := map[gerritstream.EventID]string{}
	for _, id := range ids {
		if name, ok := l.byID[id]; ok {
			known[id] = name
		}
	}
	return known
}

// unread returns the names that have not been read.
func (l *deadLetterNames) unread(names []string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(names, func(name string) bool { return l.read[name] })
}

// DeadLetters implements gerritstream.Operator.
func (o *Operator) DeadLetters(ctx context.Context) iter.Seq2[gerritstream.StoredDeadLetter, error] {
	return func(yield func(gerritstream.StoredDeadLetter, error) bool) {
		names, err := o.newestDeadLetters(ctx)
		for page := range slices.Chunk(names, deadLetterPage) {
			var letters []gerritstream.StoredDeadLetter
			if letters, err = o.readDeadLetters(ctx, page); err != nil {
				break
			}
			for i := range letters {
				if !yield(letters[i], nil) {
					return
				}
			}
		}
		if err != nil {
			yield(gerritstream.StoredDeadLetter{}, fmt.Errorf("read dead letters: %w", err))
		}
	}
}

// newestLetters returns the names of the dead letters, the newest first.
func (o *Operator) newestDeadLetters(ctx context.Context) (names []string, err error) {
	dir := o.store.at.deadLetters()
	err = o.store.call(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		if names, err = sess.children(ctx, dir); err != nil {
			return err
		}
		nodes, err := sess.statAll(ctx, below(dir, names))
		if err != nil {
			return err
		}
		made := make(map[string]int64, len(names))
		for i, name := range names {
			made[name] = nodes[i].stat.Czxid
		}
		slices.SortFunc(names, func(a, b string) int {
			return cmp.Or(cmp.Compare(made[b], made[a]), cmp.Compare(len(b), len(a)), strings.Compare(b, a))
		})
		return nil
	})
	return names, err
}

// below makes names paths.
func below(dir string, names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = dir + "/" + name
	}
	return paths
}

// readLetters reads dead letters by name, and learns their ids. Those that are
// gone are left out.
func (o *Operator) readDeadLetters(ctx context.Context, names []string) (letters []gerritstream.StoredDeadLetter, err error) {
	var nodes []node
	err = o.store.call(ctx, func(ctx context.Context, sess *session) error {
		nodes, err = sess.getAll(ctx, below(o.store.at.deadLetters(), names))
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, n := range nodes {
		if n.present {
			l := deadLetterOf(names[i], n)
			o.deadLetterNames.put(l.DeadLetter.ID, names[i])
			letters = append(letters, l)
		}
	}
	return letters, nil
}

// letterOf reads a dead letter's node. One that cannot be understood gets an id
// by its name, and is its own record.
func deadLetterOf(name string, n node) gerritstream.StoredDeadLetter {
	d, err := decodeDeadLetter(n.data)
	if err != nil {
		id := sha256.Sum256([]byte(name))
		detail := name + ": " + err.Error()
		d = gerritstream.DeadLetter{
			ID: gerritstream.EventID(id[:len(gerritstream.EventID{})]), Sub: gerritstream.NoSub, Reason: reasonUnreadable,
			Detail:  strings.ToValidUTF8(detail[:min(len(detail), maxDetail)], "?"),
			Payload: n.data[:min(len(n.data), gerritstream.MaxDeadLetterBytes)], Length: len(n.data), SHA256: sha256.Sum256(n.data),
		}
	}
	return gerritstream.StoredDeadLetter{DeadLetter: d, StoredAt: fromMilliseconds(n.stat.Ctime)}
}

// locate finds the names of dead letters. Those that are not held are left out,
// as far as it can be known without reading them again.
func (o *Operator) locate(ctx context.Context, ids []gerritstream.EventID) (found map[gerritstream.EventID]string, err error) {
	wanted := map[gerritstream.EventID]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	if found = o.deadLetterNames.of(ids); len(found) == len(wanted) {
		return found, nil
	}
	var names []string
	err = o.store.call(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		names, err = sess.children(ctx, o.store.at.deadLetters())
		return err
	})
	if err != nil {
		return nil, err
	}
	for page := range slices.Chunk(o.deadLetterNames.unread(names), deadLetterPage) {
		if _, err := o.readDeadLetters(ctx, page); err != nil {
			return nil, err
		}
		if found = o.deadLetterNames.of(ids); len(found) == len(wanted) {
			break
		}
	}
	return found, nil
}

// DeadLetter implements gerritstream.Operator.
func (o *Operator) DeadLetter(ctx context.Context, id gerritstream.EventID) (gerritstream.StoredDeadLetter, error) {
	found, err := o.locate(ctx, []gerritstream.EventID{id})
	if err == nil {
		var letters []gerritstream.StoredDeadLetter
		letters, err = o.readDeadLetters(ctx, slices.Collect(maps.Values(found)))
		for _, l := range letters {
			if l.DeadLetter.ID == id {
				return l, nil
			}
		}
	}
	if err == nil {
		err = gerritstream.ErrNoDeadLetter
	}
	return gerritstream.StoredDeadLetter{}, fmt.Errorf("read letter %s: %w", id, err)
}

// DropDeadLetters implements gerritstream.Operator. The count of those that were
// not kept stays.
func (o *Operator) DropDeadLetters(ctx context.Context, ids []gerritstream.EventID) (dropped int, err error) {
	found, err := o.locate(ctx, ids)
	if err != nil {
		return 0, fmt.Errorf("drop letters: %w", err)
	}
	paths := below(o.store.at.deadLetters(), slices.Sorted(maps.Values(found)))
	seen := map[string]bool{}
	err = o.write(ctx, pointDropDeadLetters, func(ctx context.Context, sess *session) error {
		nodes, err := sess.statAll(ctx, paths)
		if err != nil {
			return err
		}
		var held []removal
		for i, n := range nodes {
			if n.present {
				held = append(held, removal{paths[i], n.stat.Version})
			}
		}
		return o.remove(ctx, sess, node{}, held, seen)
	})
	if err != nil {
		return 0, err
	}
	return len(seen), nil
}

// RedriveDeadLetter implements gerritstream.Operator. The queue's limit does not hold
// it up.
func (o *Operator) RedriveDeadLetter(ctx context.Context, e gerritstream.Entry) error {
	found, err := o.locate(ctx, []gerritstream.EventID{e.ID})
	if err == nil && found[e.ID] == "" {
		err = gerritstream.ErrNoDeadLetter
	}
	if err == nil {
		path := o.store.at.deadLetters() + "/" + found[e.ID]
		doubt := false
		err = o.write(ctx, pointRedrive, func(ctx context.Context, sess *session) error { return o.redrive(ctx, sess, path, &e, &doubt) })
	}
	if err != nil {
		return fmt.Errorf("retry letter %s: %w", e.ID, err)
	}
	return nil
}

// retry queues an entry and removes its dead letter. doubt: it may have been
// carried out already.
func (o *Operator) redrive(ctx context.Context, sess *session, path string, e *gerritstream.Entry, doubt *bool) error {
	if err := sess.sync(ctx); err != nil {
		return err
	}
	n, err := sess.get(ctx, path)
	if err != nil {
		return err
	}
	if !n.present && *doubt {
		return fmt.Errorf("the connection was lost, and it is not held any more: %w", errUnknownOutcome)
	} else if !n.present {
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
		return fmt.Errorf("%d bytes are more than fit into a node of Zuul's queue", len(e.Payload))
	}
	at := o.store.at
	if err := sess.ensure(ctx, at.queue()); err != nil {
		return sess.refusedFor(err)
	}
	event := appendEnvelope(nil, e, redriveTimestamp(e, o.store.config.Now()))
	_, err = sess.multi(ctx,
		&zk.DeleteRequest{Path: path, Version: n.stat.Version},
		&zk.CreateRequest{Path: at.queueNode(), Data: event, Acl: openACL, Flags: zk.FlagSequence})
	if err == nil {
		return nil
	}
	*doubt = *doubt || outcomeOf(err) == unknown
	return sess.lookAgain(ctx, err)
}

// retriedAt is the timestamp of an event that is queued after all: its arrival.
// An operator does not know the service's clock, and Zuul waits for a timestamp
// to come; what it counts from one that is past, it need not wait for.
func redriveTimestamp(e *gerritstream.Entry, local time.Time) time.Time {
	if e.Arrived.IsZero() || local.Before(e.Arrived) {
		return local
	}
	return e.Arrived
}
