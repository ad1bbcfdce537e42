package sqlite

import (
	"context"
	"time"

	"github.com/gerritstream/gerritstream/internal/storekit"
)

// For tests in package sqlite_test.

// Intercept wraps each write of a Store. Call it before the Store is used.
func (s *Store) Intercept(f storekit.Intercept) { s.writer.intercept = f }

// ID is what the file calls a Store's process.
func (s *Store) ID() string { return s.id }

// Renew writes a heartbeat now.
func (s *Store) Renew() error { return s.heartbeat.Renew() }

// Kill ends a Store as SIGKILL would: nothing more is written, or resigned. It
// does not wait.
func (s *Store) Kill() { _ = s.closing.do(func() error { s.end(errClosed); return nil }) }

// Reap waits for a killed Store and closes its file.
func (s *Store) Reap() error {
	s.running.Wait()
	return s.disconnect()
}

// RemoveExpired removes what was queued before a time, as the sweeper does.
func (s *Store) RemoveExpired(before time.Time) (int64, error) {
	n, _, err := s.removeExpired(before, before)
	return n, err
}

// Exec runs a statement on the writing connection, in a job of the writer.
func (s *Store) Exec(statement string) error {
	return s.writer.do(context.Background(), func(tx *transaction) error {
		_, err := tx.conn.ExecContext(context.Background(), statement)
		return err
	})
}

// Pragma reads a setting of the writing connection.
func (s *Store) Pragma(name string) (value string, err error) {
	err = s.writer.do(context.Background(), func(tx *transaction) error {
		return tx.conn.QueryRowContext(context.Background(), "PRAGMA "+name).Scan(&value)
	})
	return value, err
}

// Intercept wraps each write of an Operator. Call it before the Operator is
// used.
func (o *Operator) Intercept(f storekit.Intercept) { o.intercept = f }

// Do has the writer run a job, which writes nothing.
func (s *Store) Do(ctx context.Context, do func()) error { return s.DoRows(ctx, 1, do) }

// DoRows has the writer run a job as if it wrote so many rows.
func (s *Store) DoRows(ctx context.Context, rows int, do func()) error {
	return s.writer.send(ctx, s.writer.jobs, &job{rows: rows, run: func(*transaction) error {
		do()
		return nil
	}})
}

// Hold keeps the writer busy until release is called. It returns once it is.
func (s *Store) Hold() (release func()) {
	held, free := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.Do(context.Background(), func() {
			close(held)
			<-free
		})
	}()
	<-held
	return func() { close(free) }
}

// SetMaxBytes changes the size from which on retention waits for nobody.
func (s *Store) SetMaxBytes(n int64) {
	_ = s.writer.do(context.Background(), func(*transaction) error { // who reads it
		s.config.RetentionMaxBytes = n
		return nil
	})
}
