package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/webhook"
)

var arrived = time.UnixMilli(1_700_000_000_123).UTC()

// oldEntry makes an event whose payload is no text.
func oldEntry(n byte) gerritstream.Entry {
	return gerritstream.Entry{
		ID: gerritstream.EventID{n}, Shard: "shard", Seq: gerritstream.SequenceNumber(fmt.Sprint(n)),
		Sub: gerritstream.NoSub, Arrived: arrived,
		Event: gerritstream.Event{
			Type: "ref-updated", Project: "a|b\nc", Ref: "refs/heads/é", Attributes: map[string]string{"k": "v"},
		},
		Payload: []byte{0, n, '\n', 0xff},
	}
}

// oldStore makes a SQLite file with something in every table, and returns it
// ready to be moved.
func oldStore(t *testing.T) *sqlite.Move {
	t.Helper()
	path := filepath.Join(t.TempDir(), "old.db")
	ctx := t.Context()
	s, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	fine(t, err)
	fine(t, s.SetOrigin(ctx, nil, gerritstream.Origin{
		Stream: gerritstream.Stream{ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Created: arrived},
		Epoch:  3, From: gerritstream.StartingPosition{TrimHorizon: true},
	}))
	term, err := s.Campaign(ctx, 3, "shard")
	fine(t, err)
	for n := byte(1); n < 5; n++ {
		fine(t, term.Commit(ctx, gerritstream.Commit{
			Position: gerritstream.Position{After: gerritstream.SequenceNumber(fmt.Sprint(n)), Arrived: arrived},
			Entries:  []gerritstream.Entry{oldEntry(n), oldEntry(n + 100)},
			DeadLetters: []gerritstream.DeadLetter{{
				ID: gerritstream.EventID{n, 1}, Shard: "shard", Seq: "9", Arrived: arrived, Reason: "shape",
				Detail:  "no 'object'",
				Payload: []byte{n, 0}, Length: 2,
			}},
		}))
	}
	_, err = s.ChangePauses(ctx, func(pauses.Set) (pauses.Set, error) {
		return pauses.Set{{Shard: "other", Since: arrived, By: "me", Reason: "repair"}}, nil
	})
	fine(t, err)
	fine(t, s.Register(ctx, "indexer", queue.Filter{}, 2))
	fine(t, s.Register(ctx, "webhook:ci", queue.Filter{}, 2))
	_, err = s.Append(ctx, "indexer", []gerritstream.Entry{oldEntry(7)})
	fine(t, err)
	fine(t, s.PauseHook(ctx, "ci", webhook.Pause{Why: "upgrade"}))
	_, err = s.Lease(ctx, "webhook:ci")
	fine(t, err)
	fine(t, s.PutAside(ctx, webhook.Letter{
		Hook: "ci", Event: queue.Event{Number: 1, Entry: oldEntry(1)}, Detail: "410",
	}))
	fine(t, s.Close(ctx))
	m, err := sqlite.OpenMove(ctx, path)
	fine(t, err)
	t.Cleanup(func() { fine(t, m.Close()) })
	return m
}

func fine(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// emptyDatabase is a database to move into.
func emptyDatabase(t *testing.T) (*peers.PostgreSQLServer, string, postgres.Config) {
	t.Helper()
	server := peers.SharedPostgreSQL(t)
	database := server.Database(t)
	return server, database, postgres.Config{URL: server.URL(database), Schema: "gerritstream_gerrit"}
}

func quiet(string, int64) {}

func takeOver(t *testing.T, config postgres.Config, tables []storekit.Table) (postgres.Taken, error) {
	t.Helper()
	return postgres.TakeOver(t.Context(), config, tables, quiet)
}

// TestTakeOverHasEverything compares what psql reads with what was in the file,
// takes over again, and goes on where the file ended.
func TestTakeOverHasEverything(t *testing.T) {
	t.Parallel()
	move := oldStore(t)
	server, database, config := emptyDatabase(t)
	tables, err := move.Tables(t.Context())
	fine(t, err)
	taken, err := takeOver(t, config, tables)
	if err != nil || taken.Was {
		t.Fatal(taken, err)
	}
	for _, table := range tables {
		rows, ok := taken.Rows[table.Name]
		if table.Name != "sqlite_sequence" && (!ok || rows != table.Count || rows == 0) {
			t.Errorf("%s: %d rows were taken over of %d", table.Name, rows, table.Count)
		}
	}
	sql := func(query string) string {
		return server.SQL(t, database, "SET search_path = gerritstream_gerrit; SET TimeZone = 'UTC'; "+query)
	}
	for query, want := range map[string]string{
		`SELECT string_agg(n || ':' || encode(payload, 'hex'), ' ' ORDER BY n) FROM events`: "1:00010aff 2:00650aff " +
			"3:00020aff 4:00660aff 5:00030aff 6:00670aff 7:00040aff 8:00680aff",
		`SELECT id, arrived, type, ref, attributes FROM events WHERE n = 1`: "01000000-0000-0000-0000-000000000000|" +
			`2023-11-14 22:13:20.123+00|ref-updated|refs/heads/é|{"k":"v"}`,
		`SELECT name, n, handed FROM consumers ORDER BY name`:                         "indexer|2|2\nwebhook:ci|2|2",
		`SELECT n, consumer, id FROM additions`:                                       "9|indexer|07000000-0000-0000-0000-000000000000",
		`SELECT name, dead_letters, given_up, pause LIKE '%upgrade%' FROM webhooks`:   "ci|1|1|t",
		`SELECT letter, webhook, n, detail, replayed FROM webhook_letters`:            "1|ci|1|410|f",
		`SELECT epoch, shard, position::json->>'after' FROM positions`:                "3|shard|4",
		`SELECT epoch FROM start`:                                                     "3",
		`SELECT count(*), max(n), min(encode(sha256, 'hex')) <> '' FROM dead_letters`: "4|4|t",
		`SELECT term, process FROM leases WHERE shard = 'shard'`:                      "1|",
		`SELECT shard, pause LIKE '%repair%' FROM pauses`:                             "other|t",
		`SELECT n FROM head`: "9",
	} {
		if got := sql(query); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", query, got, want)
		}
	}

	if again, err := takeOver(t, config, tables); err != nil || !again.Was {
		t.Errorf("again: %+v, %v", again, err)
	}
	s, err := postgres.Open(t.Context(), config)
	fine(t, err)
	defer func() { fine(t, s.Close(context.WithoutCancel(t.Context()))) }()
	term, err := s.Campaign(t.Context(), 3, "shard")
	fine(t, err)
	if p := term.Beginning().Position; p.After != "4" {
		t.Errorf("it goes on from %+v", p)
	}
	fine(t, term.Commit(t.Context(), gerritstream.Commit{
		Position: gerritstream.Position{After: "5", Arrived: arrived},
		Entries:  []gerritstream.Entry{oldEntry(1), oldEntry(50)},
		DeadLetters: []gerritstream.DeadLetter{{
			ID: gerritstream.EventID{99}, Shard: "shard", Seq: "5", Arrived: arrived,
		}},
	}))
	if got := sql(`SELECT (SELECT max(n) FROM events), (SELECT count(*) FROM events), (SELECT max(n) FROM dead_letters),
		(SELECT term FROM leases WHERE shard = 'shard')`); !slices.Contains([]string{"10|9|5|2", "11|9|5|2"}, got) {
		t.Errorf("after the next commit: %s", got)
	}
}

// TestTakeOverIsAllOrNothing: what cannot be written, or differs afterwards,
// leaves an empty schema; one that holds something else is left alone.
func TestTakeOverIsAllOrNothing(t *testing.T) {
	t.Parallel()
	move := oldStore(t)
	server, database, config := emptyDatabase(t)
	tables, err := move.Tables(t.Context())
	fine(t, err)
	count := func() string {
		return server.SQL(t, database, "SELECT (SELECT count(*) FROM gerritstream_gerrit.events) + "+
			"(SELECT count(*) FROM gerritstream_gerrit.start) + (SELECT n FROM gerritstream_gerrit.head)")
	}
	fine(t, postgres.Create(t.Context(), config))
	for name, broken := range map[string]string{
		"the last table fails": `CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$;
			CREATE TRIGGER broken BEFORE INSERT ON gerritstream_gerrit.webhooks FOR EACH ROW EXECUTE FUNCTION no()`,
		"a row is changed": `CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.ref := 'x'; RETURN new; END$$;
			CREATE TRIGGER broken BEFORE INSERT ON gerritstream_gerrit.events FOR EACH ROW WHEN (new.n = 3) EXECUTE FUNCTION no()`,
		"a payload is changed": `CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.payload := ''; RETURN new; END$$;
			CREATE TRIGGER broken BEFORE INSERT ON gerritstream_gerrit.events FOR EACH ROW WHEN (new.n = 3) EXECUTE FUNCTION no()`,
		"a row is dropped": `CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
			CREATE TRIGGER broken BEFORE INSERT ON gerritstream_gerrit.dead_letters FOR EACH ROW WHEN (new.n = 3) EXECUTE FUNCTION no()`,
	} {
		server.SQL(t, database, broken)
		if _, err := takeOver(t, config, tables); err == nil || count() != "0" {
			t.Errorf("%s: %v, %s rows are left", name, err, count())
		}
		server.SQL(t, database, "DROP FUNCTION no CASCADE")
	}
	unknown := append(slices.Clone(tables), storekit.Table{Name: "unheard_of", Count: 1})
	if _, err := takeOver(t, config, unknown); !errors.Is(err, gerritstream.ErrUnusable) || count() != "0" {
		t.Errorf("rows of an unknown table: %v", err)
	}
	if _, err := takeOver(t, config, tables); err != nil {
		t.Fatal(err)
	}
	server.SQL(t, database, "UPDATE gerritstream_gerrit.events SET ref = 'x' WHERE n = 2")
	before := count()
	if _, err := takeOver(t, config, tables); !errors.Is(err, gerritstream.ErrUnusable) ||
		!strings.Contains(err.Error(), "events") || count() != before {
		t.Errorf("a schema that holds something else: %v", err)
	}
}

// TestTakeOverLetsNobodyIn: processes that use the schema are in the way.
func TestTakeOverLetsNobodyIn(t *testing.T) {
	t.Parallel()
	move := oldStore(t)
	_, _, config := emptyDatabase(t)
	s, err := postgres.Open(t.Context(), config)
	fine(t, err)
	fine(t, s.Advertise(t.Context(), gerritstream.MemberInfo{Host: "h"}))
	tables, err := move.Tables(t.Context())
	fine(t, err)
	if _, err := takeOver(t, config, tables); !errors.Is(err, gerritstream.ErrUnusable) {
		t.Errorf("while a process runs: %v", err)
	}
	fine(t, s.Close(t.Context()))
}

// A copy may still be committed when its command was killed: whether the schema
// has the contents is known once it is.
func TestHoldsWaitsForATakeOver(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	s.openAndClose()
	config := postgres.Config{URL: s.url, Schema: s.schema}
	if held, err := postgres.Holds(within(t), config); held || err != nil {
		t.Fatal(held, err)
	}
	tx, err := s.raw.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `LOCK TABLE processes, start, leases IN SHARE ROW EXCLUSIVE MODE`)
	must(t, err)
	_, err = tx.Exec(t.Context(), `INSERT INTO start (epoch, record) VALUES (0, '{}')`)
	must(t, err)
	held := make(chan bool, 1)
	go func() {
		is, err := postgres.Holds(within(t), config)
		held <- is && err == nil
	}()
	eventually(t, "it waits", func() bool {
		return len(held) > 0 || s.count(`SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock'
			AND relation = 'processes'::regclass`) > 0
	})
	must(t, tx.Commit(t.Context()))
	if !<-held {
		t.Error("it has not waited for the contents")
	}
}
