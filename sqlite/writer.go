package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
)

// writer writes for the whole process: one goroutine, one connection. Jobs that
// wait at the same time share a transaction.
type writer struct {
	store *Store
	jobs  chan *job
	stop  chan struct{} // closed by Close: no job is taken any more

	// Of the goroutine run:
	conn *sql.Conn // nil: to be opened
	stmt statements
}

// maxGroup bounds how many jobs share a transaction, and so how long the first
// of them waits for the last.
const maxGroup = 64

// job is one piece of writing: done in full or not at all, whatever shares its
// transaction.
type job struct {
	// run writes. It may be called again when its transaction failed, and then
	// starts afresh.
	run   func(*statements) error
	taken atomic.Bool // by the writer, or by the caller who withdraws it
	done  chan error  // buffered
}

// do has run written and returns when it is durable, or was not written: an
// error that is not errUnknownOutcome means that nothing was. Ending ctx
// withdraws a job that has not begun; one that has is waited for, since it
// reads its caller's bytes.
func (w *writer) do(ctx context.Context, run func(*statements) error) error {
	if ctx.Err() != nil {
		return ctx.Err() // select would toss a coin
	}
	j := &job{run: run, done: make(chan error, 1)}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stop:
		return errClosed
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
	case <-w.stop:
		if j.taken.CompareAndSwap(false, true) {
			return errClosed
		}
	}
	return <-j.done
}

// run serves jobs until stop.
func (w *writer) run() {
	defer w.disconnect()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.store.running.Go(func() {
		<-w.stop
		cancel()
	})
	for {
		select {
		case j := <-w.jobs:
			w.serve(ctx, j)
		case <-w.stop:
			return
		}
	}
}

// serve writes a job, and those that wait beside it, in one transaction. Only
// once that has begun are they taken: while another process has the lock, they
// can be withdrawn. When the transaction fails and nothing was written, each
// job gets one of its own: what one of them cannot have (a page too many on a
// full disk) does not stop the others.
func (w *writer) serve(ctx context.Context, first *job) {
	begun := w.begin(ctx)
	group := w.gather(first)
	if begun != nil {
		finish(group, nil, begun)
		return
	}
	errs, err := w.transact(group)
	if err == nil || len(group) == 1 || errors.Is(err, errUnknownOutcome) {
		finish(group, errs, err)
		return
	}
	for _, j := range group {
		if begun = w.begin(ctx); begun != nil {
			finish([]*job{j}, nil, begun)
			continue
		}
		errs, err := w.transact([]*job{j})
		finish([]*job{j}, errs, err)
	}
}

// gather takes a job and those that wait beside it.
func (w *writer) gather(first *job) []*job {
	group := take(nil, first)
	for len(group) < maxGroup {
		select {
		case j := <-w.jobs:
			group = take(group, j)
		default:
			return group
		}
	}
	return group
}

// take adds a job to a group, unless its caller has withdrawn it.
func take(group []*job, j *job) []*job {
	if j.taken.CompareAndSwap(false, true) {
		return append(group, j)
	}
	return group
}

// finish tells the jobs of a group how they ended: err, if there is one, is
// that of all.
func finish(group []*job, errs []error, err error) {
	for i, j := range group {
		if err != nil {
			j.done <- err
		} else {
			j.done <- errs[i]
		}
	}
}

// begin begins a transaction. Ending ctx ends its waiting for another process'
// lock.
func (w *writer) begin(ctx context.Context) error {
	if err := w.store.fate(); err != nil {
		return err
	}
	if err := w.connect(); err != nil {
		return explain(w.store.path, err)
	}
	if _, err := w.stmt.begin.ExecContext(ctx); err != nil {
		w.rollback()
		if ctx.Err() != nil {
			return errClosed
		}
		return explain(w.store.path, err)
	}
	return nil
}

// transact runs a group in the transaction that has begun, and ends that. errs
// are what the jobs said, each of which then is written or not; err says that
// none of them is.
func (w *writer) transact(group []*job) (errs []error, err error) {
	if len(group) == 0 {
		w.rollback()
		return nil, nil
	}
	for _, j := range group {
		jobErr, err := w.savepoint(j)
		if err != nil {
			w.rollback()
			return nil, explain(w.store.path, err)
		}
		errs = append(errs, jobErr)
	}
	if err := w.store.place.check(); err != nil {
		w.rollback()
		return nil, w.store.condemn(err)
	}
	if err := w.stmt.exec(w.stmt.commit); err != nil { // the commit point: before it nothing is written, behind it all is
		w.rollback()
		return nil, explainCommit(w.store.path, err)
	}
	return errs, nil
}

// savepoint runs a job so that it alone is undone when it refuses. jobErr is
// its refusal; err is SQLite's failure.
func (w *writer) savepoint(j *job) (jobErr, err error) {
	if err := w.stmt.exec(w.stmt.savepoint); err != nil {
		return nil, err
	}
	jobErr = j.run(&w.stmt)
	if code(jobErr) != 0 {
		return nil, jobErr
	}
	if jobErr != nil {
		if err := w.stmt.exec(w.stmt.undo); err != nil {
			return nil, err
		}
	}
	return jobErr, w.stmt.exec(w.stmt.release)
}

// rollback ends a transaction that failed. SQLite may have ended it by itself;
// where it cannot, the connection goes.
func (w *writer) rollback() {
	err := w.stmt.exec(w.stmt.rollback)
	if err != nil && passing(err) {
		w.disconnect()
	}
}

// connect opens the connection unless it is open.
func (w *writer) connect() error {
	if w.conn != nil {
		return nil
	}
	ctx := context.Background()
	conn, err := w.store.writing.Conn(ctx)
	if err != nil {
		return err
	}
	if w.stmt, err = prepare(ctx, conn); err != nil {
		return errors.Join(fmt.Errorf("prepare statements: %w", err), conn.Close())
	}
	w.conn = conn
	return nil
}

func (w *writer) disconnect() {
	if w.conn == nil {
		return
	}
	w.stmt.close()
	if err := w.conn.Close(); err != nil {
		w.store.log.Warn("close the writing connection", "error", err)
	}
	w.conn = nil
}
