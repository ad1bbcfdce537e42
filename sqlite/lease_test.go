package sqlite_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/storetest"
)

const (
	shardA gerritstream.ShardID = "shardId-000000000000"
	shardB gerritstream.ShardID = "shardId-000000000001"
)

func position(seq gerritstream.SequenceNumber) gerritstream.Position {
	return gerritstream.Position{After: seq, Arrived: time.UnixMilli(1_700_000_000_000).UTC()}
}

func elect(t *testing.T, store gerritstream.Store, shard gerritstream.ShardID) gerritstream.Term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	term, err := store.Campaign(ctx, 0, shard)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// over waits for the end of a term.
func over(t *testing.T, term gerritstream.Term) {
	t.Helper()
	select {
	case <-term.Context().Done():
	case <-time.After(time.Minute):
		t.Fatal("the term did not end")
	}
}

func openWith(t *testing.T, config sqlite.Config) *sqlite.Store {
	t.Helper()
	config.PollOnly = true // most of the tests are in bubbles
	store, err := sqlite.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, store.Close(context.WithoutCancel(t.Context()))) })
	return store
}

// The lease of a dead process stands for its TTL and no longer than one look
// after it.
func TestTakeoverTakesTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		first, second := s.open(), s.open()
		elect(t, first, shardA)
		first.Kill()
		killed := time.Now()
		elect(t, second, shardA)
		if took := time.Since(killed); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("the takeover took %v, the TTL is 5s", took)
		}
	})
}

// A clean resignation is noticed at the next look.
func TestTakeoverAfterResignation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		first, second := s.open(), s.open()
		term := elect(t, first, shardA)
		won := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := second.Campaign(ctx, 0, shardA)
			won <- err
		}()
		synctest.Wait()
		if err := term.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
		resigned := time.Now()
		if err := <-won; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(resigned); took > 300*time.Millisecond {
			t.Errorf("the takeover took %v", took)
		}
	})
}

// A candidate with a shorter TTL than the holder's waits for the holder's.
func TestHolderDecidesTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		slow := openWith(t, sqlite.Config{Path: s.path, LeaseTTL: time.Minute})
		hasty := openWith(t, sqlite.Config{Path: s.path, LeaseTTL: time.Second})
		term := elect(t, slow, shardA)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		if _, err := hasty.Campaign(ctx, 0, shardA); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("campaign against a living holder returned %v", err)
		}
		if term.Context().Err() != nil {
			t.Error("the holder's term ended")
		}
	})
}

// The holder's clock does not matter, whether the holder is alive or dead.
func TestClocksDoNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		first, second := s.open(), s.open()
		term := elect(t, first, shardA)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		stopped := make(chan struct{})
		go func() { // the holder's clock is years late
			defer close(stopped)
			for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				s.exec(`UPDATE processes SET beaten = 0`)
			}
		}()
		if _, err := second.Campaign(ctx, 0, shardA); err == nil {
			t.Error("a living holder lost its lease because of its clock")
		}
		<-stopped
		if err := term.Commit(t.Context(), commitOf("1")); err != nil {
			t.Errorf("commit of a living holder: %v", err)
		}
		first.Kill()
		s.exec(`UPDATE processes SET beaten = beaten + 1000000000000`) // the dead holder's clock is years early
		elect(t, second, shardA)
	})
}

// A process whose heartbeats cannot be written trusts itself for less than the
// TTL, from when its last heartbeat began.
func TestTrustEndsWithoutHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		term := elect(t, s.open(), shardA)
		began := time.Now()
		conn, err := s.raw.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
			t.Fatal(err)
		}
		err = term.Commit(t.Context(), commitOf("1"))
		if !errors.Is(err, gerritstream.ErrRetryLater) {
			t.Errorf("commit to a locked file returned %v", err)
		}
		if term.Context().Err() != nil {
			t.Error("the term ended with the first lock")
		}
		over(t, term)
		if after := time.Since(began); after < 3*time.Second || after > 4*time.Second {
			t.Errorf("the term was trusted for %v, the TTL is 5s", after)
		}
		if _, err := conn.ExecContext(t.Context(), `ROLLBACK`); err != nil {
			t.Fatal(err)
		}
		err = term.Commit(t.Context(), commitOf("1"))
		if !errors.Is(err, gerritstream.ErrLeadershipLost) {
			t.Errorf("commit after the end of trust returned %v", err)
		}
	})
}

// The lease of a term that ended is freed, although its process lives on and
// nobody resigns it.
func TestEndedTermIsFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		first, second := s.open(), s.open()
		term := elect(t, first, shardA)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := term.Commit(ctx, commitOf("1")); !errors.Is(err, context.Canceled) {
			t.Errorf("commit with an ended context returned %v", err)
		}
		over(t, term)
		elect(t, second, shardA)
	})
}

// A lease that belongs to no living term is freed by the next heartbeat that
// succeeds, even if its process has since tried to take it in another term and
// failed to write that.
func TestALeaseWithoutATermIsFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		first, second := s.open(), s.open()
		term := elect(t, first, shardA)
		conn, err := s.raw.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil { // no heartbeat succeeds
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := term.Commit(ctx, commitOf("1")); !errors.Is(err, context.Canceled) {
			t.Errorf("commit with an ended context returned %v", err)
		}
		s.faults.FailNext(storetest.PointCampaign, storetest.Refuse)
		if _, err := first.Campaign(t.Context(), 0, shardA); !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("campaign returned %v", err)
		}
		time.Sleep(time.Minute) // heartbeats that had begun before fail
		if _, err := conn.ExecContext(t.Context(), `ROLLBACK`); err != nil {
			t.Fatal(err)
		}
		freed := time.Now()
		elect(t, second, shardA)
		if took := time.Since(freed); took > 5*time.Second {
			t.Errorf("the lease was taken after %v", took)
		}
	})
}

// Heartbeats do not free a lease that is being taken.
func TestAHeartbeatLeavesALeaseThatIsBeingTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := s.open()
		slow := func(p storetest.Point, write func() error) error {
			err := write()
			if p == storetest.PointCampaign {
				time.Sleep(3 * time.Second) // three heartbeats between the write and its return
			}
			return err
		}
		store.Intercept(slow)
		term := elect(t, store, shardA)
		if err := term.Commit(t.Context(), commitOf("1")); err != nil {
			t.Errorf("commit: %v", err)
		}
	})
}

// Close frees leaderships at once, and ends calls under way.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := openWith(t, sqlite.Config{Path: s.path, Process: "leaver"})
		if err := store.Report(t.Context(), gerritstream.Status{}); err != nil {
			t.Fatal(err)
		}
		term := elect(t, store, shardA)
		failed := make(chan error, 2)
		go func() { _, err := store.Campaign(t.Context(), 0, shardA); failed <- err }()
		go func() { failed <- store.WaitEnded(t.Context(), 0, shardA) }()
		synctest.Wait()
		if err := store.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-failed; err == nil {
				t.Error("a call under way succeeded")
			}
		}
		if err := term.Commit(t.Context(), commitOf("1")); !errors.Is(err, gerritstream.ErrLeadershipLost) {
			t.Errorf("commit after Close returned %v", err)
		}
		if _, err := store.Campaign(t.Context(), 0, shardB); err == nil {
			t.Error("campaign after Close succeeded")
		}
		in, err := sqlite.Inspect(t.Context(), s.path)
		if err != nil {
			t.Fatal(err)
		}
		if len(in.Reports) != 0 || in.Shards[shardA].Leader != "" {
			t.Errorf("Close left %+v", in)
		}
		began := time.Now()
		elect(t, s.open(), shardA)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the next leader waited %v", took)
		}
	})
}

// A holder that commits nothing learns nevertheless that it has lost its lease.
func TestIdleHolderLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		term := elect(t, s.open(), shardA)
		s.exec(`UPDATE leases SET term = term + 1, process = 'another'`)
		lost := time.Now()
		over(t, term)
		if after := time.Since(lost); after > 2*time.Second {
			t.Errorf("the holder learned of it after %v", after)
		}
		if cause := context.Cause(term.Context()); !errors.Is(cause, gerritstream.ErrLeadershipLost) {
			t.Errorf("the term ended with %v", cause)
		}
	})
}
