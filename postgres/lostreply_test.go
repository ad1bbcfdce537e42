package postgres_test

import (
	"bytes"
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/postgres"
)

// newLinked returns a schema that is reached through a link.
func newLinked(t *testing.T) (*shared, *peers.Link) {
	t.Helper()
	direct := serverURL(t)
	address, err := url.Parse(direct)
	must(t, err)
	link := peers.NewPostgreSQLLink(t, address.Host)
	return newSharedAt(t, strings.Replace(direct, address.Host, link.Addr(), 1), direct), link
}

// marked matches a request that has a text in it.
func marked(text string) func([]byte) bool {
	return func(request []byte) bool { return bytes.Contains(request, []byte(text)) }
}

// markedEntry is an event whose commit marked finds.
func markedEntry(seq gerritstream.SequenceNumber, text string) gerritstream.Entry {
	e := entry(shardA, seq, 0)
	e.Payload = []byte(text)
	return e
}

// Whether the reply to a commit is lost or the commit itself, the term goes on
// and the commit counts once.
func TestLostReplyOfACommit(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(*peers.Link, func([]byte) bool) <-chan struct{}
	}{
		{"reply", (*peers.Link).LoseNextReply},
		{"request", (*peers.Link).LoseNextRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, link := newLinked(t)
			term := elect(t, s.openWith(postgres.Config{LeaseTTL: patience}), shardA)
			must(t, term.Commit(within(t), commitOf("1", markedEntry("1", "first"))))
			lost := tt.lose(link, marked("the lost one"))
			must(t, term.Commit(within(t), commitOf("2", markedEntry("2", "the lost one"))))
			select {
			case <-lost:
			default:
				t.Error("nothing was lost")
			}
			must(t, term.Commit(within(t), commitOf("3", markedEntry("3", "last"))))
			s.hasQueued("1", "2", "3")
			if term.Context().Err() != nil {
				t.Error("the term is over")
			}
		})
	}
}

// While the server still works on a commit whose connection was lost, the same
// commit sent again waits for the outcome, and finds it.
func TestACommitUnderWayIsWaitedFor(t *testing.T) {
	t.Parallel()
	s, link := newLinked(t)
	term := elect(t, s.openWith(postgres.Config{LeaseTTL: patience}), shardA)
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	s.holdCommits(shardA)
	lock, err := pgx.ConnectConfig(within(t), s.raw.Config().ConnConfig)
	must(t, err)
	defer lock.Close(context.Background())
	_, err = lock.Exec(within(t), `SELECT pg_advisory_lock($1)`, heldOpen)
	must(t, err)
	committed := make(chan error, 1)
	go func() { committed <- term.Commit(within(t), commitOf("2", entry(shardA, "2", 10))) }()
	eventually(t, "the commit is held open", s.waiting(1))
	link.Drop()
	eventually(t, "the second copy waits for the first", s.waiting(2))
	_, err = lock.Exec(within(t), `SELECT pg_advisory_unlock($1)`, heldOpen)
	must(t, err)
	must(t, <-committed)
	must(t, term.Commit(within(t), commitOf("3", entry(shardA, "3", 10))))
	s.hasQueued("1", "2", "3")
}

// A copy of a commit that arrives late, after another commit of the same term,
// writes nothing.
func TestALateCopyWritesNothing(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.openWith(postgres.Config{LeaseTTL: patience})
	var copies []func() error
	store.Intercept(func(p storekit.Point, write func() error) error {
		if p == storekit.PointCommit {
			copies = append(copies, write)
		}
		return write()
	})
	term := elect(t, store, shardA)
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	must(t, term.Commit(within(t), commitOf("2", entry(shardA, "2", 10))))
	must(t, copies[1]()) // the last one is known to have been written
	s.exec(`DELETE FROM events`)
	if err := copies[0](); err == nil {
		t.Error("the late copy was confirmed")
	}
	s.hasQueued()
	if p, err := store.Positions(within(t), 0); err != nil || p[shardA].After != "2" {
		t.Errorf("position %v, %v", p[shardA], err)
	}
}

// A process whose reply to winning a shard is lost wins it in a later term.
func TestLostReplyOfACampaign(t *testing.T) {
	t.Parallel()
	s, link := newLinked(t)
	store := s.openWith(postgres.Config{LeaseTTL: patience})
	lost := link.LoseNextReply(marked(string(shardA)))
	term := elect(t, store, shardA)
	<-lost
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	s.hasQueued("1")
}

// A database that was restored, or failed over to an older state, has an older
// position: the term notices, and the next one begins there.
func TestAnOlderStateEndsTheTerm(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.openWith(postgres.Config{LeaseTTL: patience})
	term := elect(t, store, shardA)
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	s.exec(`CREATE TABLE backup AS SELECT * FROM positions`)
	must(t, term.Commit(within(t), commitOf("2", entry(shardA, "2", 10))))
	s.exec(`DELETE FROM positions`)
	s.exec(`INSERT INTO positions SELECT * FROM backup`)
	s.exec(`DELETE FROM events WHERE seq = '2'`)
	if err := term.Commit(within(t), commitOf("3", entry(shardA, "3", 10))); err == nil {
		t.Fatal("a commit left a gap")
	}
	s.hasQueued("1")
	next := elect(t, store, shardA)
	if b := next.Beginning(); b.Position.After != "1" {
		t.Errorf("the next term begins %v", b.Position)
	}
}

// A commit is refused once the lease is in another term, even of the same
// process, which has not noticed yet.
func TestALeaseInAnotherTerm(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	term := elect(t, s.openWith(postgres.Config{LeaseTTL: patience}), shardA)
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	s.exec(`UPDATE leases SET term = term + 1`)
	if err := term.Commit(within(t), commitOf("2", entry(shardA, "2", 10))); err == nil {
		t.Error("the commit was confirmed")
	}
	s.hasQueued("1")
}
