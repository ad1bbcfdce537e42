package postgres_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/postgres"
)

// limited returns a schema whose stores have settings of a role or a database,
// and the term of one of them with an event.
func limited(t *testing.T, settings string) (s *shared, term gerritstream.Term) {
	t.Helper()
	s = newShared(t)
	s.url += "&application_name=" + s.application() + settings
	term = elect(t, s.openWith(postgres.Config{LeaseTTL: time.Minute}), shardA)
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	return s, term
}

// application is what the server calls the connections of limited's stores.
func (s *shared) application() string { return strings.ReplaceAll(s.schema, " ", "_") }

// A limit that a server sets to statements, locks or sessions ends no term, and
// a commit that met it is made once the reason is gone.
func TestLimitsOfTheServer(t *testing.T) {
	for name, code := range map[string]string{"statement_timeout": "57014", "lock_timeout": "55P03"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, term := limited(t, "&"+name+"=500")
			lock, err := s.raw.Begin(within(t))
			must(t, err)
			defer func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) }() // if the test fails
			_, err = lock.Exec(within(t), `LOCK TABLE events`)
			must(t, err)
			commit := commitOf("2", entry(shardA, "2", 10))
			err = term.Commit(within(t), commit)
			if !errors.Is(err, gerritstream.ErrRetryLater) || !strings.Contains(err.Error(), code) {
				t.Errorf("a commit that waits for a lock: %v", err)
			}
			must(t, lock.Rollback(within(t)))
			must(t, term.Commit(within(t), commit))
			s.hasQueued("1", "2")
		})
	}
	t.Run("idle_session_timeout", func(t *testing.T) {
		t.Parallel()
		s, term := limited(t, "&idle_session_timeout=50")
		for _, seq := range []gerritstream.SequenceNumber{"2", "3"} {
			eventually(t, "the server ends the connection that commits", func() bool {
				return s.count(`SELECT count(*) FROM pg_stat_activity WHERE application_name = '`+s.application()+`'
					AND query ILIKE 'commit%'`) == 0
			})
			must(t, term.Commit(within(t), commitOf(seq, entry(shardA, seq, 10))))
		}
		s.hasQueued("1", "2", "3")
	})
}

// A commit that another transaction blocks, and blocks itself, is chosen as the
// victim by the server, and is made then.
func TestADeadlock(t *testing.T) {
	t.Parallel()
	s, term := limited(t, "")
	other, err := s.raw.Begin(within(t))
	must(t, err)
	defer func() { _ = other.Rollback(context.WithoutCancel(t.Context())) }() // if the test fails
	lock := func(statement string) {
		_, err := other.Exec(within(t), statement)
		must(t, err)
	}
	lock(`UPDATE head SET n = n`)
	done := make(chan error, 1)
	go func() { done <- term.Commit(within(t), commitOf("2", entry(shardA, "2", 10))) }()
	eventually(t, "the commit waits", s.waiting(1))
	lock(`UPDATE leases SET term = term`) // which the commit has locked; it waited first, and so is the victim
	must(t, other.Commit(within(t)))
	must(t, <-done)
	s.hasQueued("1", "2")
}

// A server whose disk is full writes no event, and the term goes on until there
// is room.
func TestADiskThatIsFull(t *testing.T) {
	t.Parallel()
	s, term := limited(t, "")
	var folder, file string
	must(t, s.raw.QueryRow(within(t), `SELECT current_setting('data_directory'), pg_relation_filepath(reltoastrelid)
		FROM pg_class WHERE oid = 'events'::regclass`).Scan(&folder, &file))
	file = filepath.Join(folder, file) // of what is too large for a row; it is empty
	if info, err := os.Stat(file); err != nil || info.Size() > 0 {
		t.Skipf("the server's files are elsewhere: %v, %v", info, err)
	}
	must(t, os.Rename(file, file+".kept"))
	must(t, os.Symlink("/dev/full", file))
	large := entry(shardA, "2", 100_000)
	for i := range large.Payload {
		large.Payload[i] = byte(rand.Uint32())
	}
	for range 3 {
		err := term.Commit(within(t), commitOf("2", large))
		if !errors.Is(err, gerritstream.ErrRetryLater) || !strings.Contains(err.Error(), "53100") {
			t.Errorf("a commit to a full disk: %v", err)
		}
	}
	s.hasQueued("1")
	must(t, os.Rename(file+".kept", file))
	// The server's processes have the other file open.
	s.exec(`SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1`, s.application())
	must(t, term.Commit(within(t), commitOf("2", large)))
	s.hasQueued("1", "2")
}
