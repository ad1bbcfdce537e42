package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// lock prevents all others from writing until the test ends.
func (s *shared) lock() {
	s.t.Helper()
	conn, err := s.raw.Conn(s.t.Context())
	must(s.t, err)
	_, err = conn.ExecContext(s.t.Context(), `BEGIN IMMEDIATE`)
	must(s.t, err)
	s.t.Cleanup(func() {
		_, err := conn.ExecContext(context.WithoutCancel(s.t.Context()), `ROLLBACK`)
		closed(s.t, errors.Join(err, conn.Close()))
	})
}

// Another program's lock delays a stop for no longer than its contexts allow,
// and is not an error.
func TestStopUnderALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		var log recorder
		store := openWith(t, sqlite.Config{Path: s.path, Logger: log.logger()})
		var terms []gerritstream.Term
		for i := range 20 {
			terms = append(terms, elect(t, store, gerritstream.ShardID(fmt.Sprint(i))))
		}
		s.lock()
		wait(t, 1850*time.Millisecond) // a heartbeat waits for the lock, and gives up while those below wait
		began := time.Now()
		var all sync.WaitGroup
		for _, term := range terms {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if err := term.Resign(ctx); err == nil {
					t.Error("a resignation that cannot be written succeeded")
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took > 350*time.Millisecond {
			t.Errorf("resignations that may take 300ms took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if err := store.Close(ctx); err != nil {
			t.Errorf("close returned %v", err)
		}
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("Close took %v", took)
		}
		if !strings.Contains(log.String(), "cannot resign") {
			t.Errorf("the log does not say that leases are left: %s", log.String())
		}
	})
}

// Jobs that wait for a lock together wait once, not one after the other.
func TestALockHoldsUpAllJobsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := s.open()
		var terms []gerritstream.Term
		for i := range 20 {
			terms = append(terms, elect(t, store, gerritstream.ShardID(fmt.Sprint(i))))
		}
		s.lock()
		began := time.Now()
		var all sync.WaitGroup
		for _, term := range terms {
			all.Go(func() {
				err := term.Commit(t.Context(), commitOf("1"))
				if !errors.Is(err, gerritstream.ErrRetryLater) {
					t.Errorf("commit to a locked file returned %v", err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("20 commits to a locked file took %v", took)
		}
	})
}
