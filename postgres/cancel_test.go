package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/postgres"
)

// TestLostCommitStillWaitsForTheStandby: whether a caller gives up or the
// connection is lost, nobody reads what a synchronous standby does not have.
func TestLostCommitStillWaitsForTheStandby(t *testing.T) {
	t.Parallel()
	server := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	database := server.Database(t)
	link := peers.NewPostgreSQLLink(t, server.Addr())
	s, err := postgres.Open(t.Context(), postgres.Config{
		URL: peers.PostgreSQLURL(database, "disable", link.Addr()), Schema: "s", LeaseTTL: time.Minute,
	})
	fine(t, err)
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
		defer cancel()
		_ = s.Close(ctx)
	}()
	term, err := s.Campaign(t.Context(), 0, "shard")
	fine(t, err)
	standby := peers.StartStandby(t, server, peers.StandbyOptions{Synchronous: true})
	standby.Freeze(t)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- term.Commit(ctx, gerritstream.Commit{
			Position: gerritstream.Position{After: "1", Arrived: arrived}, Entries: []gerritstream.Entry{oldEntry(1)},
		})
	}()
	waits := func() bool { // a heartbeat may wait as well
		return server.SQL(t, database, `SELECT count(*) > 0 FROM pg_stat_activity
			WHERE wait_event = 'SyncRep' AND query ILIKE 'commit%'`) == "t"
	}
	for deadline := time.Now().Add(time.Minute); !waits(); {
		if time.Now().After(deadline) {
			t.Fatal("the commit does not wait for the standby")
		}
	}
	link.Drop() // which the library answers by a request to cancel
	cancel()
	<-ended
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		if n := server.SQL(t, database, "SELECT count(*) FROM s.events"); n != "0" {
			t.Fatalf("%s events can be read that the standby does not have", n)
		}
	}
	standby.Thaw(t)
	for deadline := time.Now().Add(time.Minute); server.SQL(t, database, "SELECT count(*) FROM s.events") != "1"; {
		if time.Now().After(deadline) {
			t.Fatal("the event is not there once the standby has it")
		}
	}
}

// TestNameLeadsToAStandby: a name, or a pooler, may lead to the old primary for
// a while after a fail-over, which then is a standby. A commit is tried again.
func TestNameLeadsToAStandby(t *testing.T) {
	t.Parallel()
	first := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	second := peers.StartStandby(t, first, peers.StandbyOptions{})
	s, err := postgres.Open(t.Context(), postgres.Config{
		URL: first.URL("postgres"), Schema: "s", LeaseTTL: time.Minute,
	})
	fine(t, err)
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
		defer cancel()
		_ = s.Close(ctx)
	}()
	term, err := s.Campaign(t.Context(), 0, "shard")
	fine(t, err)
	first.AwaitStandby(t, second, false)
	first.Kill(t)
	second.Promote(t)
	first.Follow(t, second, peers.StandbyOptions{})
	<-time.After(1100 * time.Millisecond) // from then on the pool asks a connection whether it lives

	commit := gerritstream.Commit{
		Position: gerritstream.Position{After: "1", Arrived: arrived}, Entries: []gerritstream.Entry{oldEntry(1)},
	}
	for deadline, refused := time.Now().Add(time.Minute), 0; refused < 3; { // the first finds its connection lost
		err := term.Commit(t.Context(), commit)
		if !errors.Is(err, gerritstream.ErrRetryLater) || time.Now().After(deadline) {
			t.Fatalf("a commit on a standby: %v", err)
		}
		if strings.Contains(err.Error(), "recovery") {
			refused++
		}
	}
	first.Promote(t)
	for deadline := time.Now().Add(time.Minute); ; {
		err := term.Commit(t.Context(), commit)
		if err == nil {
			break
		}
		if !errors.Is(err, gerritstream.ErrRetryLater) || time.Now().After(deadline) {
			t.Fatalf("a commit on a primary: %v", err)
		}
	}
}

// TestCommitEndsWithItsContext, whatever the server does: a process stops in
// time though none answers.
func TestCommitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	s, err := postgres.Open(t.Context(), postgres.Config{
		URL: server.URL("postgres"), Schema: "s", LeaseTTL: time.Minute,
	})
	fine(t, err)
	term, err := s.Campaign(t.Context(), 0, "shard")
	fine(t, err)
	server.Freeze(t)
	defer server.Thaw(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := term.Commit(ctx, gerritstream.Commit{
		Position: gerritstream.Position{After: "1", Arrived: arrived}, Entries: []gerritstream.Entry{oldEntry(1)},
	}); err == nil {
		t.Error("a frozen server has confirmed a commit")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the commit went on for %v", took)
	}
	closing, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = s.Close(closing)
}
