package postgres_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/postgres"
)

// A commit that was confirmed is on the server's disk, and says what it said,
// whatever defaults the database has for sessions, also from one moment to the
// next. So is everything else that is written.
func TestDefaultsOfSessionsDoNotMatter(t *testing.T) {
	for _, tt := range []struct {
		name string
		url  func(*testing.T, string) string
	}{
		{"direct", func(_ *testing.T, direct string) string { return direct }},
		{"pooled", func(t *testing.T, direct string) string {
			t.Helper()
			address, err := url.Parse(direct)
			must(t, err)
			return peers.StartPgBouncer(t, address.Host).URL(strings.Trim(address.Path, "/"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := peers.SharedPostgreSQL(t)
			database := server.Database(t)
			s := newSharedAt(t, tt.url(t, server.URL(database)), server.URL(database))
			store := s.openWith(postgres.Config{LeaseTTL: patience})
			term := elect(t, store, shardA)
			must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
			s.exec(`CREATE TABLE settings (of text, commit text, isolation text)`)
			s.exec(`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				INSERT INTO "` + s.schema + `".settings VALUES (TG_TABLE_NAME,
					current_setting('synchronous_commit'), current_setting('transaction_isolation'));
				RETURN new;
			END $$`)
			for _, table := range []string{"positions", "processes"} {
				s.exec(`CREATE TRIGGER note AFTER INSERT OR UPDATE ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION note()`)
			}
			for _, setting := range []string{
				"synchronous_commit = off", "default_transaction_isolation = serializable", "client_encoding = 'LATIN1'",
				"bytea_output = escape", "standard_conforming_strings = off", "search_path = nowhere", "DateStyle = 'German'",
				"TimeZone = 'Asia/Kathmandu'", "IntervalStyle = sql_standard", "enable_seqscan = off", "row_security = off",
				"default_transaction_read_only = on",
			} {
				s.exec(`ALTER DATABASE ` + database + ` SET ` + setting)
			}
			s.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			s.raw.Reset()

			e := entry(shardA, "2", 10)
			e.Event.Project, e.Payload = "zażółć/漢字", []byte{0, '\\', 255}
			must(t, term.Commit(within(t), commitOf("2", e)))
			eventually(t, "a heartbeat is written", func() bool { return store.Renew() == nil })
			events, err := store.Read(within(t), "nobody", 1, 1)
			must(t, err)
			if len(events) != 1 || events[0].Entry.Event.Project != e.Event.Project ||
				string(events[0].Entry.Payload) != string(e.Payload) {
				t.Errorf("the event is read as %+v", events)
			}
			if n := s.count(`SELECT count(*) FROM events WHERE n = 2 AND length(project) = 9`); n != 1 {
				t.Error("the event's project is stored as something else")
			}
			if n := s.count(`SELECT count(DISTINCT of) FROM settings`); n != 2 {
				t.Errorf("%d tables were written, want 2", n)
			}
			if n := s.count(`SELECT count(*) FROM settings WHERE commit <> 'on' OR isolation <> 'read committed'`); n != 0 {
				t.Errorf("%d rows were written with other settings than they need", n)
			}
		})
	}
}

// While somebody has a table locked, what has waited for it does not keep its
// connections: otherwise the server would have none left for anybody.
func TestALockedTableTakesNoConnections(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.openWith(postgres.Config{LeaseTTL: 250 * time.Millisecond})
	tx, err := s.raw.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `LOCK TABLE processes`)
	must(t, err)
	const waiting = `SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'processes'::regclass`
	eventually(t, "a heartbeat waits", func() bool { return s.count(waiting) > 0 })
	if store.Renew() == nil {
		t.Error("a heartbeat was written")
	}
	store.Kill()
	eventually(t, "nothing waits any more", func() bool { return s.count(waiting) == 0 })
}

// A name may lead to a pooler from some day on, while processes run. They go
// on, and leave nothing in its sessions.
func TestAPoolerComesBetween(t *testing.T) {
	t.Parallel()
	direct := serverURL(t)
	address, err := url.Parse(direct)
	must(t, err)
	link, pooler := peers.NewPostgreSQLLink(t, address.Host), peers.StartPgBouncer(t, address.Host)
	database := strings.Trim(address.Path, "/")
	s := newSharedAt(t, peers.PostgreSQLURL(database, "disable", link.Addr(), pooler.Addr()), direct)
	store := s.openWith(postgres.Config{LeaseTTL: patience})
	term := elect(t, store, shardA)
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	if !store.Direct() {
		t.Fatal("it begins with a pooler")
	}
	link.Cut()
	eventually(t, "a commit is made", func() bool {
		return term.Commit(within(t), commitOf("2", entry(shardA, "2", 10))) == nil
	})
	if store.Direct() {
		t.Error("it does not know that there is a pooler")
	}
	must(t, term.Commit(within(t), commitOf("3", entry(shardA, "3", 10))))
	s.hasQueued("1", "2", "3")
	raw, err := pgx.Connect(t.Context(), pooler.URL(database))
	must(t, err)
	defer raw.Close(t.Context())
	var locks string
	must(t, raw.QueryRow(t.Context(), `SHOW lock_timeout`, pgx.QueryExecModeSimpleProtocol).Scan(&locks))
	if locks != "0" {
		t.Errorf("others get a session with a lock timeout of %s", locks)
	}
}
