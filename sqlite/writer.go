package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/gerritstream/gerritstream/internal/storekit"
)

// writer writes for the whole process: one goroutine, one connection. Jobs that
// wait at the same time share a transaction.
type writer struct {
	store     *Store
	db        *sql.DB
	urgent    chan *job // heartbeats: behind thousands of jobs they would come too late to keep the leaderships
	jobs      chan *job
	tx        *transaction       // of run; nil: to be opened
	turn      turn               // of run
	beats     uint64             // of run: the heartbeats written
	intercept storekit.Intercept // nil but in tests
}

// The jobs of a group share a transaction. These bounds are also how long the
// first of them waits for the last, others for the lock, and a heartbeat for
// its turn: it may have to wait for four transactions (see
// TestAHeartbeatGoesBeforeAllJobs). More rows at once are not written faster.
const (
	maxGroup     = 512 // jobs
	maxGroupRows = 16 * 500
)

// job is one piece of writing: done in full or not at all, whatever shares its
// transaction.
type job struct {
	// run writes. It is called again from the start if its transaction failed.
	run   func(*transaction) error
	rows  int         // how many it writes, about
	taken atomic.Bool // by the writer, or by the caller who withdraws it
	err   error       // of the writer: why run refused to write
	done  chan error  // of capacity 1
}

// write does what do does, for the caller of a method.
func (w *writer) write(ctx context.Context, p storekit.Point, run func(*transaction) error) error {
	return w.writeRows(ctx, p, 1, run)
}

// writeRows is write for something that writes many rows.
func (w *writer) writeRows(ctx context.Context, p storekit.Point, rows int, run func(*transaction) error) error {
	return w.intercept.Write(p, func() error { return w.send(ctx, w.jobs, &job{run: run, rows: rows}) })
}

// do has run written. An error other than errUnknownOutcome means that nothing
// was written; nil, that the writing is durable. Ending ctx withdraws a job
// that has not begun; one that has is waited for, since it reads its caller's
// bytes.
func (w *writer) do(ctx context.Context, run func(*transaction) error) error {
	return w.send(ctx, w.jobs, &job{run: run, rows: 1})
}

// doUrgent is do for a job that goes before all others that wait.
func (w *writer) doUrgent(run func(*transaction) error) error {
	return w.send(context.Background(), w.urgent, &job{run: run, rows: 1})
}

// send sends a job and waits for its end.
func (w *writer) send(ctx context.Context, to chan<- *job, j *job) error {
	if ctx.Err() != nil {
		return ctx.Err() // select would choose at random
	}
	life := w.store.life
	j.done = make(chan error, 1)
	select {
	case to <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-life.Done():
		return context.Cause(life)
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
	case <-life.Done():
		if j.taken.CompareAndSwap(false, true) {
			return context.Cause(life)
		}
	}
	return <-j.done
}

// run serves jobs for the life of the store.
func (w *writer) run() {
	defer w.disconnect()
	for {
		select {
		case j := <-w.urgent:
			w.serve(j)
		case j := <-w.jobs:
			w.serve(j)
		case <-w.store.life.Done():
			return
		}
	}
}

// serve writes a job, and those that wait beside it, in one transaction. They
// are taken only once that has begun: while another process has the lock, they
// can be withdrawn. If the transaction fails and nothing was written, each job
// gets one of its own: a job that cannot be written (a page too many on a full
// disk) does not stop the others.
func (w *writer) serve(first *job) {
	begun := w.begin()
	group := w.takeJobs(first)
	if begun != nil {
		finish(group, begun)
		return
	}
	err := w.transact(group)
	if err == nil || len(group) == 1 || errors.Is(err, errUnknownOutcome) {
		finish(group, err)
		return
	}
	for i := range group {
		err := w.begin()
		if err == nil {
			err = w.transact(group[i : i+1])
		}
		finish(group[i:i+1], err)
	}
}

// takeJobs takes a job and those that wait beside it, unless their callers have
// withdrawn them.
func (w *writer) takeJobs(first *job) (group []*job) {
	rows, waiting := 0, true
	take := func(j *job) {
		if j.taken.CompareAndSwap(false, true) {
			group = append(group, j)
			rows += j.rows
		}
	}
	take(first)
	select {
	case j := <-w.urgent:
		take(j)
	default:
	}
	for waiting && len(group) < maxGroup && rows < maxGroupRows {
		select {
		case j := <-w.jobs:
			take(j)
		default:
			waiting = false
		}
	}
	return group
}

// finish returns the jobs' own errors to their callers, or err, if it is not
// nil, to all of them.
func finish(group []*job, err error) {
	for _, j := range group {
		if err != nil {
			j.err = err
		}
		j.done <- j.err
	}
}

// begin begins a transaction. The end of the store's life ends its waiting for
// another process' lock.
func (w *writer) begin() error {
	life := w.store.life
	if life.Err() != nil {
		return context.Cause(life)
	}
	if w.tx == nil {
		conn, err := w.db.Conn(context.Background())
		if err != nil {
			return explain(w.store.place.path, err)
		}
		w.tx = newTransaction(conn)
	}
	w.turn.yield(life, w.store.watcher.OthersAlive())
	err := w.lock(life)
	if err == nil {
		return nil
	}
	w.rollback()
	if life.Err() != nil {
		return context.Cause(life)
	}
	return explain(w.store.place.path, err)
}

// lockTry is how long SQLite waits for the lock at once. Its waiting is polling
// at intervals of up to 100 ms, which would find the lock free by chance only
// while another process writes all the time. So the intervals start over.
const lockTry = 5 * time.Millisecond

// lock takes the file's only write lock, or returns SQLITE_BUSY after
// busyTimeout.
func (w *writer) lock(ctx context.Context) error {
	begin, err := w.tx.statement(`BEGIN IMMEDIATE`)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(busyTimeout); ; {
		_, err := begin.ExecContext(ctx)
		if code(err) != lib.SQLITE_BUSY || time.Now().After(deadline) || !storekit.Sleep(ctx, lockTry/5) {
			return err
		}
	}
}

// turn is how long this process has kept the lock from others.
type turn struct {
	began time.Time // of transactions without a gap between them
	ended time.Time // of the last one
}

const (
	turnLength = 50 * time.Millisecond
	turnGap    = 2 * lockTry // long enough to be found
)

// yield leaves the lock alone for a moment if transactions have followed one
// another for long. Otherwise another process could not write as long as jobs
// wait here, not even its heartbeat.
func (t *turn) yield(ctx context.Context, others bool) {
	switch now := time.Now(); {
	case now.Sub(t.ended) >= turnGap:
		t.began = now
	case others && now.Sub(t.began) >= turnLength:
		storekit.Sleep(ctx, turnGap-now.Sub(t.ended))
		t.began = time.Now()
	}
}

// transact runs a group in the transaction that has begun, and ends it. If it
// returns nil, each job was written, or refused to write; otherwise none was.
func (w *writer) transact(group []*job) error {
	defer func() { w.turn.ended = time.Now() }()
	if len(group) == 0 {
		w.rollback()
		return nil
	}
	for _, j := range group {
		if err := w.savepoint(j); err != nil {
			w.rollback()
			return explain(w.store.place.path, err)
		}
	}
	if err := w.store.place.check(); err != nil {
		w.rollback()
		return w.store.fail(err)
	}
	if err := w.tx.exec(`COMMIT`); err != nil { // the commit point: before it nothing is written, after it everything
		w.rollback()
		return explainCommit(w.store.place.path, err)
	}
	return nil
}

// savepoint runs a job so that it alone is undone if it refuses to write. The
// error is SQLite's.
func (w *writer) savepoint(j *job) error {
	if err := w.tx.exec(`SAVEPOINT job`); err != nil {
		return err
	}
	if j.err = j.run(w.tx); code(j.err) != 0 {
		return j.err
	}
	if j.err != nil {
		if err := w.tx.exec(`ROLLBACK TO job`); err != nil {
			return err
		}
	}
	return w.tx.exec(`RELEASE job`)
}

// rollback ends a transaction that failed. SQLite may have ended it already;
// where that cannot be done, the connection is closed.
func (w *writer) rollback() {
	if err := w.tx.exec(`ROLLBACK`); err != nil && passing(err) {
		w.disconnect()
	}
}

func (w *writer) disconnect() {
	if w.tx == nil {
		return
	}
	if err := w.tx.close(); err != nil {
		w.store.log.Warn("cannot close the writing connection", "err", err)
	}
	w.tx = nil
}
