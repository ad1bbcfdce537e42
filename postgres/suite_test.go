package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, harness())
}

// A pooler gives each transaction another session, and passes no notifications
// on.
func TestStoreThroughPgBouncer(t *testing.T) {
	storetest.Run(t, throughPgBouncer(t, harness()))
}

// throughPgBouncer has what a harness opens go through a pooler of its own.
func throughPgBouncer(t *testing.T, h storetest.Harness) storetest.Harness {
	t.Helper()
	peers.Require(t, peers.PgBouncer)
	direct := serverURL(t)
	address, err := url.Parse(direct)
	must(t, err)
	pooler := peers.StartPgBouncer(t, address.Host)
	h.New = func(t *testing.T) storetest.Backend {
		return newSharedAt(t, pooler.URL(strings.Trim(address.Path, "/")), direct).backend()
	}
	return h
}

func TestPauses(t *testing.T) { storetest.RunPauses(t, harness()) }

func TestPausesThroughPgBouncer(t *testing.T) { storetest.RunPauses(t, throughPgBouncer(t, harness())) }

func harness() storetest.Harness {
	return storetest.Harness{
		New:          func(t *testing.T) storetest.Backend { return newShared(t).backend() },
		Settle:       time.Second,
		Patience:     time.Minute,
		Deduplicates: true,
	}
}

// shared is one schema, the stores opened on it, and connections of its own to
// read and change it.
type shared struct {
	t      testing.TB
	url    string
	schema string
	raw    *pgxpool.Pool

	faults storetest.Faults
}

var schemas atomic.Int64

func newShared(tb testing.TB) *shared { return newSharedAt(tb, serverURL(tb), serverURL(tb)) }

// newSharedAt has stores connect to the one address, and what looks behind
// their backs to the other.
func newSharedAt(tb testing.TB, url, direct string) *shared {
	tb.Helper()
	s := &shared{t: tb, url: url, schema: fmt.Sprintf("Test %d", schemas.Add(1))}
	config, err := pgxpool.ParseConfig(direct)
	if err != nil {
		tb.Fatal(err)
	}
	config.MaxConns = 2
	config.ConnConfig.RuntimeParams["search_path"] = pgx.Identifier{s.schema}.Sanitize()
	if s.raw, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.raw.Close)
	s.exec(`DROP SCHEMA IF EXISTS ` + pgx.Identifier{s.schema}.Sanitize() + ` CASCADE`)
	return s
}

func (s *shared) backend() storetest.Backend {
	return storetest.Backend{
		Open:        func() gerritstream.Store { return s.open() },
		Kill:        func(store gerritstream.Store) { store.(*postgres.Store).Kill() },
		Entries:     s.entries,
		DeadLetters: s.deadLetters,
		WritePosition: func(epoch int, shard gerritstream.ShardID, raw []byte) {
			s.exec(`DELETE FROM positions WHERE epoch = $1 AND shard = $2`, epoch, string(shard))
			if raw != nil {
				s.exec(`INSERT INTO positions (epoch, shard, position) VALUES ($1, $2, $3)`,
					epoch, string(shard), strings.ToValidUTF8(strings.ReplaceAll(string(raw), "\x00", "?"), "?"))
			}
		},
		WriteNewerOrigin: func() { s.exec(`UPDATE start SET record = '{"format":1000000}'`) },
		Expire: func(shard gerritstream.ShardID) {
			s.exec(`UPDATE leases SET term = term + 1, process = '' WHERE shard = $1`, string(shard))
		},
		ExpireLease: func(name string) {
			s.exec(`UPDATE leases SET term = term + 1, process = '' WHERE shard = $1`, "consumer:"+name)
		},
		Operator: func() gerritstream.Operator { return s.operator() },
		DamageReport: func(store gerritstream.Store) {
			s.exec(`UPDATE reports SET report = 'garbage' WHERE process = $1`, store.(*postgres.Store).ID())
		},
		DamageMember: func(store gerritstream.Store) {
			s.exec(`UPDATE members SET info = 'garbage' WHERE process = $1`, store.(*postgres.Store).ID())
		},
		FailNext: s.faults.FailNext,
	}
}

// ttl is the leases' time to live in tests, unless they say otherwise: short,
// for the tests wait for it, and long enough for a busy machine.
const ttl = 2 * time.Second

// open opens a store whose writes suffer the faults that were asked for.
func (s *shared) open() *postgres.Store { return s.openWith(postgres.Config{}) }

// openWith is open with further settings.
func (s *shared) openWith(config postgres.Config) *postgres.Store {
	s.t.Helper()
	config.URL, config.Schema = s.url, s.schema
	if config.LeaseTTL == 0 {
		config.LeaseTTL = ttl
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	store, err := postgres.Open(context.Background(), config)
	if err != nil {
		s.t.Fatal(err)
	}
	store.Intercept(s.faults.Intercept(store.Kill))
	s.t.Cleanup(func() {
		store.Kill()
		store.Reap()
	})
	return store
}

// operator opens an operator whose writes suffer the faults that were asked
// for. The caller closes it.
func (s *shared) operator() *postgres.Operator {
	s.t.Helper()
	config := postgres.Config{URL: s.url, Schema: s.schema}
	o, err := postgres.OpenOperator(s.t.Context(), config)
	if err != nil {
		// Nothing has run on the schema yet: a file of SQLite's would be there.
		s.openAndClose()
		o, err = postgres.OpenOperator(s.t.Context(), config)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	o.Intercept(s.faults.Intercept(nil))
	return o
}

// openAndClose makes the schema's tables.
func (s *shared) openAndClose() {
	s.t.Helper()
	store, err := postgres.Open(s.t.Context(), postgres.Config{URL: s.url, Schema: s.schema})
	if err == nil {
		err = store.Close(s.t.Context())
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shared) exec(statement string, args ...any) {
	s.t.Helper()
	if _, err := s.raw.Exec(context.Background(), statement, args...); err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}

// each calls scan for each row of a query.
func (s *shared) each(query string, scan func(pgx.Rows) error) {
	s.t.Helper()
	rows, err := s.raw.Query(context.Background(), query)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shared) entries() (entries []gerritstream.Entry) {
	s.each(`SELECT id, payload FROM events ORDER BY n`, func(rows pgx.Rows) error {
		var id [16]byte
		var e gerritstream.Entry
		err := rows.Scan(&id, &e.Payload)
		e.ID = id
		entries = append(entries, e)
		return err
	})
	return entries
}

func (s *shared) deadLetters() (dead []gerritstream.DeadLetter) {
	const query = `SELECT id, shard, seq, sub, arrived, reason, detail, payload, length, sha256 FROM dead_letters`
	s.each(query, func(rows pgx.Rows) error {
		var id [16]byte
		var sum []byte
		var d gerritstream.DeadLetter
		err := rows.Scan(&id, &d.Shard, &d.Seq, &d.Sub, &d.Arrived, &d.Reason, &d.Detail, &d.Payload, &d.Length, &sum)
		d.ID, d.SHA256 = id, [32]byte(sum)
		dead = append(dead, d)
		return err
	})
	return dead
}
