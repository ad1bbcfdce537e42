package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// writers is how many transactions with commits a process has under way at a
// time: while the server writes one to its disk, others are encoded, sent and
// checked, up to where they wait for their numbers. More of them would have
// smaller groups, and each waits for the disk by itself.
const writers = 2

// writer writes the commits of the process' terms. Those that wait at the same
// time share a transaction.
type writer struct {
	store     *Store
	jobs      chan *job
	intercept storekit.Intercept // nil but in tests

	// repeated is how many of the next flushes are to expect events that are
	// there already, as when a shard is read again from an older position.
	repeated atomic.Int32
}

// repeatedFlushes is the value of writer.repeated after such an event was met.
// It keeps a long backlog of them from being sent twice.
const repeatedFlushes = 100

func newWriter(s *Store) *writer { return &writer{store: s, jobs: make(chan *job, maxGroup)} }

// The bounds of a group are also how long its numbers keep other processes
// waiting, and how large the message is.
const (
	maxGroup       = 256     // jobs
	maxGroupRows   = 4 * 500 // of events
	maxGroupWeight = 8 << 20 // bytes
)

// flushPatience bounds a transaction with commits. Terms that end meanwhile cut
// it short.
const flushPatience = 30 * time.Second

// job is one commit: done in full or not at all, whatever shares its
// transaction.
type job struct {
	commit *pendingCommit
	term   context.Context // of the term: its end is that of the job
	caller context.Context // of the Commit that waits for it
	weight int
	taken  atomic.Bool // by the writer, or by the caller who withdraws it
	done   chan error  // of capacity 1
}

// do has a commit written. Ending ctx withdraws a job that has not begun, and
// has the writer give up one that has, unless others wait for the same flush.
// That is waited for, since it reads its caller's bytes.
func (w *writer) do(ctx context.Context, j *job) error {
	if ctx.Err() != nil {
		return ctx.Err() // select would choose at random
	}
	j.done, j.caller = make(chan error, 1), ctx
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-j.term.Done():
		return context.Cause(j.term)
	case <-w.store.life.Done():
		return context.Cause(w.store.life)
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
	case <-j.term.Done():
		if j.taken.CompareAndSwap(false, true) {
			return context.Cause(j.term)
		}
	case <-w.store.life.Done():
		if j.taken.CompareAndSwap(false, true) {
			return context.Cause(w.store.life)
		}
	}
	return <-j.done
}

// run serves jobs for the life of the store.
func (w *writer) run() {
	var running sync.WaitGroup
	for range writers {
		running.Go(w.serveAll)
	}
	running.Wait()
}

func (w *writer) serveAll() {
	for {
		select {
		case j := <-w.jobs:
			w.serve(w.takeJobs(j))
		case <-w.store.life.Done():
			return
		}
	}
}

// takeJobs takes a job and those that wait beside it, unless their callers have
// withdrawn them.
func (w *writer) takeJobs(first *job) (group []*job) {
	rows, weight := 0, 0
	for j := first; j != nil; {
		if j.taken.CompareAndSwap(false, true) {
			group = append(group, j)
			rows, weight = rows+len(j.commit.entries), weight+j.weight
		}
		j = nil
		if len(group) < maxGroup && rows < maxGroupRows && weight < maxGroupWeight {
			select {
			case j = <-w.jobs:
			default:
			}
		}
	}
	return group
}

// serve writes a group in one transaction. If that fails for a reason that will
// not pass, each job gets one of its own: a job that cannot be written does not
// stop the others. So does each one after another of the same shard, whose term
// is over.
func (w *writer) serve(group []*job) {
	var first, others []*job
	shards := map[gerritstream.ShardID]bool{}
	for _, j := range group {
		if shard := j.commit.term.shard; shards[shard] {
			others = append(others, j)
		} else {
			shards[shard], first = true, append(first, j)
		}
	}
	if len(first) > 0 {
		err := w.flush(first)
		if err != nil && len(first) > 1 && !errors.Is(err, errUnknownOutcome) && fateOf(err) == lasting {
			others, err = group, nil
		}
		if err != nil {
			finish(first, err)
		}
	}
	for i := range others {
		if err := w.flush(others[i : i+1]); err != nil {
			finish(others[i:i+1], err)
		}
	}
}

// finish returns an error to the jobs' callers.
func finish(group []*job, err error) {
	for _, j := range group {
		j.done <- err
	}
}

// flush writes a group in one transaction, and returns to the callers. With an
// error it has returned to none.
func (w *writer) flush(group []*job) error {
	ctx, cancel := context.WithTimeout(w.store.life, flushPatience)
	defer cancel()
	left := atomic.Int64{}
	left.Store(int64(len(group)))
	for _, j := range group {
		// Nobody needs the result of a transaction all of whose terms are over,
		// or whose callers have given up, as in a stop while no server answers.
		gone := sync.OnceFunc(func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
		defer context.AfterFunc(j.term, gone)()
		defer context.AfterFunc(j.caller, gone)()
	}
	f := newFlush(w.store, group)
	f.repeated = w.repeated.Load() > 0 && w.repeated.Add(-1) >= 0
	err := w.store.db.persist(ctx, f.add)
	if code(err) == uniqueViolation && !f.repeated { // nothing was written
		f.repeated = true
		w.repeated.Store(repeatedFlushes)
		err = w.store.db.persist(ctx, f.add)
	}
	if err == nil {
		if err = f.look(ctx); err != nil { // a commit may have been written before
			err = fmt.Errorf("%w: %w", errUnknownOutcome, err)
		}
	}
	if err != nil {
		if life := w.store.life; life.Err() != nil {
			err = fmt.Errorf("%w: %w: %w", errUnknownOutcome, context.Cause(life), err)
		}
		return err
	}
	for _, j := range group {
		j.done <- f.result(j.commit)
	}
	return nil
}
