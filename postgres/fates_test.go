package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
)

// failCommits has the server fail commits with an error of a code, so many
// times; -1: as long as it is not called again. The code "kill" has the server
// end its process, as an administrator does, which is an error with the
// severity FATAL.
func (s *shared) failCommits(code string, times int) { s.failWrites("positions", code, times) }

// failWrites is failCommits for what writes to a table.
func (s *shared) failWrites(table, code string, times int) {
	s.t.Helper()
	s.exec(`CREATE SEQUENCE IF NOT EXISTS failures`) // not undone by the transaction that fails
	s.exec(`DROP TRIGGER IF EXISTS fail ON ` + table)
	s.exec(`SELECT setval('failures', 1, false)`)
	fail := fmt.Sprintf(`RAISE EXCEPTION 'as the test asks' USING errcode = '%s'`, code)
	if code == "kill" {
		fail = `PERFORM pg_terminate_backend(pg_backend_pid())`
	}
	s.exec(fmt.Sprintf(`CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF %[1]d < 0 OR nextval('"%[2]s".failures') <= %[1]d THEN %[3]s; END IF;
		RETURN new;
	END $$`, times, s.schema, fail))
	if times != 0 {
		s.exec(`CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION fail()`)
	}
}

// The fates of a commit: it is tried again at once, or its caller may do so
// after a pause, within the term; or the term is over.
const atOnce, later, over = "at once", "later", "term over"

// serverErrors are what a server, or a pooler, may answer to a commit.
var serverErrors = []struct {
	code, name, fate string
	fatal            bool // the connection ends with it
}{
	{code: "40001", name: "serialization failure", fate: atOnce},
	{code: "40001", name: "conflict with recovery", fate: atOnce, fatal: true},
	{code: "40P01", name: "deadlock", fate: atOnce},
	{code: "40003", name: "unknown to the server", fate: atOnce},
	{code: "kill", name: "terminated by an administrator", fate: atOnce},
	{code: "53100", name: "disk full", fate: later},
	{code: "53200", name: "out of memory", fate: later},
	{code: "53300", name: "too many connections", fate: later},
	{code: "53400", name: "a configured limit", fate: later},
	{code: "57014", name: "statement timeout", fate: later},
	{code: "55P03", name: "lock timeout", fate: later},
	{code: "25P03", name: "idle in a transaction", fate: atOnce, fatal: true},
	{code: "25P04", name: "transaction timeout", fate: atOnce, fatal: true},
	{code: "57P05", name: "idle session", fate: atOnce, fatal: true},
	{code: "57P01", name: "shutting down", fate: later},
	{code: "57P02", name: "another process crashed", fate: atOnce, fatal: true},
	{code: "57P03", name: "starting up", fate: later},
	{code: "57P03", name: "starting up, behind a pooler", fate: atOnce, fatal: true},
	{code: "25006", name: "read-only, as a standby", fate: later},
	{code: "0A000", name: "a transaction that cannot write", fate: later},
	{code: "26000", name: "statements are forgotten", fate: later},
	{code: "42P05", name: "statements of another session", fate: later},
	{code: "58030", name: "input or output error", fate: later},
	{code: "08004", name: "refused by a pooler", fate: later},
	{code: "08006", name: "connection failure of a pooler", fate: atOnce},
	{code: "08P01", name: "a pooler gives the connection up", fate: atOnce, fatal: true},
	{code: "42501", name: "privilege taken away", fate: over},
	{code: "22021", name: "a character that is not stored", fate: over},
	{code: "54000", name: "a limit of the program", fate: over},
	{code: "XX001", name: "data corrupted", fate: over},
	{code: "ZZ123", name: "a code that nobody knows", fate: over},
}

// What a server answers to a commit has a fate, and nothing is lost or queued
// twice. Where trying again cannot help, the term is over.
func TestFatesOfServerErrors(t *testing.T) {
	address, err := url.Parse(serverURL(t))
	must(t, err)
	for _, tt := range serverErrors {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShared(t)
			if tt.fatal { // no statement can raise an error that ends the connection
				link := peers.NewPostgreSQLLink(t, address.Host)
				link.Alter(makeFatal(tt.code))
				through := *address
				through.Host = link.Addr()
				s = newSharedAt(t, through.String(), serverURL(t))
			}
			term := elect(t, s.openWith(postgres.Config{LeaseTTL: time.Minute}), shardA)
			must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
			commit := commitOf("2", entry(shardA, "2", 10))
			if tt.fate == atOnce {
				s.failCommits(tt.code, 2)
				must(t, term.Commit(within(t), commit))
			} else {
				s.failCommits(tt.code, -1)
				err := term.Commit(within(t), commit)
				if err == nil || errors.Is(err, gerritstream.ErrRetryLater) != (tt.fate == later) {
					t.Errorf("commit returned %v", err)
				}
				s.failCommits(tt.code, 0)
				if tt.fate == over {
					if term.Context().Err() == nil {
						t.Error("the term goes on")
					}
					s.hasQueued("1")
					return
				}
				must(t, term.Commit(within(t), commit))
			}
			if err := term.Context().Err(); err != nil {
				t.Errorf("the term is over: %v", context.Cause(term.Context()))
			}
			must(t, term.Commit(within(t), commitOf("3", entry(shardA, "3", 10))))
			s.hasQueued("1", "2", "3")
		})
	}
}

// What the server refuses a candidate, an operator must mend, who may do so
// while the process goes on: it is told apart from what ends a process.
func TestCampaignsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		code string
		kind error
	}{
		{"42501", gerritstream.ErrDenied},   // a privilege was taken away
		{"42P01", gerritstream.ErrUnusable}, // a table was
		{"XX001", gerritstream.ErrUnusable}, // data is corrupted
		{"P0001", gerritstream.ErrUnusable}, // another program's trigger refuses it
	} {
		t.Run(tt.code, func(t *testing.T) {
			t.Parallel()
			s := newShared(t)
			store := s.open()
			s.exec(fmt.Sprintf(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				RAISE EXCEPTION 'no' USING errcode = '%s'; END $$`, tt.code))
			s.exec(`CREATE TRIGGER refuse BEFORE INSERT ON leases FOR EACH ROW EXECUTE FUNCTION refuse()`)
			if _, err := store.Campaign(within(t), 0, shardA); !errors.Is(err, tt.kind) {
				t.Errorf("the campaign returned %v, want %v", err, tt.kind)
			}
			s.exec(`DROP TRIGGER refuse ON leases`)
			must(t, elect(t, store, shardA).Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
		})
	}
}

// What a consumer acknowledges, or is appended for it, is not lost by an error
// that may pass, and nothing is appended twice.
func TestFatesOfWhatConsumersWrite(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.openWith(postgres.Config{LeaseTTL: time.Minute})
	must(t, store.Register(within(t), "a", queue.Filter{}, 0))
	lease, err := store.Lease(within(t), "a")
	must(t, err)
	n := int64(0)
	for _, tt := range serverErrors {
		if tt.fate == over || tt.fatal {
			continue
		}
		n++
		appended := []gerritstream.Entry{entry(shardA, gerritstream.SequenceNumber(fmt.Sprint(n)), 10)}
		s.failWrites("additions", tt.code, 1)
		eventually(t, "an event is appended", func() bool {
			_, err := store.Append(within(t), "a", appended)
			if err != nil && !errors.Is(err, gerritstream.ErrRetryLater) && !strings.Contains(err.Error(), "unknown") {
				t.Errorf("%s: appending returned %v", tt.name, err)
			}
			return err == nil
		})
		s.failWrites("additions", tt.code, 0)
		s.failWrites("consumers", tt.code, 2)
		if err := lease.Ack(within(t), queue.Set{UpTo: n}); err != nil {
			t.Errorf("%s: acknowledging returned %v", tt.name, err)
		}
		s.failWrites("consumers", tt.code, 0)
	}
	infos, err := store.Consumers(within(t))
	must(t, err)
	if infos[0].Acked != n || s.count(`SELECT count(*) FROM additions`) != 0 {
		t.Errorf("of %d events the consumer has %+v", n, infos[0])
	}
}

// makeFatal has the server's errors of a code end the connection.
func makeFatal(code string) func([]byte) []byte {
	field := []byte("\x00C" + code + "\x00")
	return func(reply []byte) []byte {
		if reply[0] == 'E' && bytes.Contains(reply, field) {
			return bytes.ReplaceAll(reply, []byte("ERROR\x00"), []byte("FATAL\x00"))
		}
		return reply
	}
}

// Each code, or class of codes, that has a fate of its own is tried.
func TestEachFateIsTried(t *testing.T) {
	for _, code := range postgres.FateCodes() {
		tried := false
		for _, tt := range serverErrors {
			tried = tried || strings.HasPrefix(tt.code, code)
		}
		if !tried {
			t.Errorf("no test has a commit fail with %s", code)
		}
	}
}

// hasQueued checks which events the queue holds, by their sequence numbers.
func (s *shared) hasQueued(want ...string) {
	s.t.Helper()
	r := &reader{s: s}
	r.read()
	got := []string{}
	for _, event := range r.seen {
		got = append(got, event[len(shardA)+1:])
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("the queue holds %q, want %q", got, want)
	}
}

// One commit that cannot be written does not stop those that share its
// transaction.
func TestACommitThatFailsStopsNoOther(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.openWith(postgres.Config{LeaseTTL: time.Minute})
	const busy, bad, all = postgres.Writers, postgres.Writers + 2, postgres.Writers + 8
	s.exec(fmt.Sprintf(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF new.shard = 'shard%d' THEN RAISE EXCEPTION 'no' USING errcode = '23514'; END IF;
		RETURN new;
	END $$`, bad))
	s.exec(`CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()`)
	s.holdCommits("shard0")
	free := s.takeHeldOpen()
	var terms []gerritstream.Term
	for i := range all {
		terms = append(terms, elect(t, store, gerritstream.ShardID(fmt.Sprintf("shard%d", i))))
	}
	var commits sync.WaitGroup
	commit := func(i int) {
		commits.Go(func() {
			shard := gerritstream.ShardID(fmt.Sprintf("shard%d", i))
			if err := terms[i].Commit(within(t), commitOf("1", entry(shard, "1", 10))); (err != nil) != (i == bad) {
				t.Errorf("commit to %s returned %v", shard, err)
			}
		})
	}
	for i := range busy { // all transactions that a process has at a time
		commit(i)
		eventually(t, "the transaction waits", s.waiting(i+1))
	}
	for i := busy; i < all; i++ {
		commit(i)
	}
	eventually(t, "the commits wait for their turn", func() bool { return store.Waiting() == all-busy })
	free()
	commits.Wait()
	if n := s.count(`SELECT count(*) FROM events`); n != all-1 {
		t.Errorf("%d events are queued, want %d", n, all-1)
	}
}

// Where the server has no connection left, commits wait for one, within the
// term.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	s.exec(`CREATE ROLE few LOGIN PASSWORD 'few'`)
	s.openAndClose()
	s.exec(`GRANT ALL ON SCHEMA "` + s.schema + `" TO few`)
	s.exec(`GRANT ALL ON ALL TABLES IN SCHEMA "` + s.schema + `" TO few`)
	s.url = strings.Replace(s.url, "postgres@", "few:few@", 1)
	term := elect(t, s.openWith(postgres.Config{LeaseTTL: time.Minute}), shardA)
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	s.exec(`ALTER ROLE few CONNECTION LIMIT 1`)
	s.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few' AND query LIKE 'COMMIT%'`)
	<-time.After(1100 * time.Millisecond) // from then on the pool asks a connection whether it lives
	eventually(t, "a commit finds no connection", func() bool {
		err := term.Commit(within(t), commitOf("2"))
		if err != nil && !errors.Is(err, gerritstream.ErrRetryLater) {
			t.Fatal(err)
		}
		return err != nil && strings.Contains(err.Error(), "53300")
	})
	s.exec(`ALTER ROLE few CONNECTION LIMIT -1`)
	must(t, term.Commit(within(t), commitOf("3", entry(shardA, "3", 10))))
	s.hasQueued("1", "3")
}

// A server that restarts, in either way, under traffic loses nothing and
// doubles nothing. Terms may end; none need to.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	server := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	url := server.URL(server.Database(t))
	s := newSharedAt(t, url, url)
	store := s.openWith(postgres.Config{LeaseTTL: time.Minute})
	stop := make(chan struct{})
	var committed atomic.Int64
	var writing sync.WaitGroup
	writing.Go(func() {
		pause := time.NewTicker(10 * time.Millisecond)
		defer pause.Stop()
		for term := elect(t, store, shardA); ; {
			seq := gerritstream.SequenceNumber(fmt.Sprint(committed.Load() + 1))
			err := term.Commit(within(t), commitOf(seq, entry(shardA, seq, 100)))
			switch {
			case err == nil:
				committed.Add(1)
			case errors.Is(err, gerritstream.ErrRetryLater):
				<-pause.C
			default:
				t.Errorf("the term is over: %v", err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	more := func() {
		before := committed.Load()
		eventually(t, "commits are made", func() bool { return committed.Load() >= before+15 })
	}
	for _, how := range []peers.Shutdown{peers.Fast, peers.Immediate, peers.Fast} {
		more()
		server.Restart(t, how)
	}
	more()
	close(stop)
	writing.Wait()
	var want []string
	for n := range committed.Load() {
		want = append(want, fmt.Sprint(n+1))
	}
	s.raw.Reset()
	s.hasQueued(want...)
}
