package storetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/storetest"
)

const shard gerritstream.ShardID = "shardId-000000000000"

func positionAt(seq gerritstream.SequenceNumber) gerritstream.Position {
	return gerritstream.Position{After: seq, Arrived: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func campaign(t *testing.T, store gerritstream.Store) gerritstream.Term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	term, err := store.Campaign(ctx, 0, shard)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// A frozen process' leadership goes to a standby after TakeoverAfter and not
// before; thawed, its term has ended.
func TestFrozenProcessIsSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMemory(storetest.MemoryConfig{TakeoverAfter: 5 * time.Second})
		first, second := mem.Process("first"), mem.Process("second")
		zombie := campaign(t, first)
		began := time.Now()
		first.Freeze()
		successor := campaign(t, second)
		if waited := time.Since(began); waited != 5*time.Second {
			t.Errorf("the standby won after %v, want 5s", waited)
		}
		if zombie.Context().Err() != nil {
			t.Error("a frozen process learned of its loss")
		}
		first.Thaw()
		synctest.Wait()
		if cause := context.Cause(zombie.Context()); !errors.Is(cause, gerritstream.ErrLeadershipLost) {
			t.Errorf("the term ended with %v", cause)
		}
		if err := successor.Commit(t.Context(), gerritstream.Commit{Position: positionAt("1")}); err != nil {
			t.Error(err)
		}
	})
}

// A process thawed in time keeps what it led.
func TestThawedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMemory(storetest.MemoryConfig{TakeoverAfter: 5 * time.Second})
		process := mem.Process("only")
		term := campaign(t, process)
		process.Freeze()
		time.AfterFunc(4*time.Second, process.Thaw)
		if err := term.Commit(t.Context(), gerritstream.Commit{Position: positionAt("1")}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		<-ctx.Done()
		if leader := mem.Leader(shard); leader != "only" {
			t.Errorf("led by %q after a thaw in time", leader)
		}
	})
}

// Every call of a dead process fails, those under way included.
func TestKilledProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMemory(storetest.MemoryConfig{})
		leader, victim := mem.Process("leader"), mem.Process("victim")
		campaign(t, leader)
		failed := make(chan error, 2)
		go func() { _, err := victim.Campaign(t.Context(), 0, shard); failed <- err }()
		go func() { failed <- victim.WaitEnded(t.Context(), 0, shard) }()
		synctest.Wait()
		victim.Kill()
		synctest.Wait()
		if len(failed) < 2 {
			t.Fatal("a call under way did not end")
		}
		for range 2 {
			if err := <-failed; !errors.Is(err, storetest.ErrProcessDead) {
				t.Errorf("a call under way failed with %v", err)
			}
		}
		if _, err := victim.Positions(t.Context(), 0); !errors.Is(err, storetest.ErrProcessDead) {
			t.Errorf("a later call failed with %v", err)
		}
	})
}

// A hook sees each write before it happens, and may change the state meanwhile.
func TestHookExpiresLeadershipUnderCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMemory(storetest.MemoryConfig{})
		term := campaign(t, mem.Process("first"))
		mem.SetHook(func(w storetest.Write) storetest.Fault {
			if w.Point == storetest.PointCommit && len(w.Commit.Entries) == 1 {
				mem.ExpireQuietly(w.Shard)
			}
			return storetest.NoFault
		})
		err := term.Commit(t.Context(), gerritstream.Commit{
			Position: positionAt("1"),
			Entries:  []gerritstream.Entry{{Shard: shard, Seq: "1", Payload: []byte("x")}},
		})
		if !errors.Is(err, gerritstream.ErrLeadershipLost) {
			t.Errorf("commit = %v", err)
		}
		if n := len(mem.Entries()); n != 0 {
			t.Errorf("%d entries of a lost term", n)
		}
	})
}
