package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// applicationID marks a file as ours ("GeSt"), in SQLite's header field for
// that.
const applicationID = 0x47655374

// migrations lead from each schema version to the next; their number is the
// version this program knows. A migration that was released is never changed.
// Times are milliseconds since 1970, UTC.
//
// The rows of events have an integer key, so that they lie in the file in the
// order of their commits: appending touches the last page, and a reader follows
// by number. AUTOINCREMENT keeps a number from being used again after the
// newest rows were deleted. Identity is a unique index beside it: as the key of
// the table itself (WITHOUT ROWID) it would put each payload of some kilobytes
// on a random page, and split pages.
var migrations = []string{`
CREATE TABLE start (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	record TEXT NOT NULL
) STRICT;

CREATE TABLE positions (
	epoch     INTEGER NOT NULL,
	shard     TEXT NOT NULL,
	position  TEXT NOT NULL,    -- storekit.EncodePosition
	committed INTEGER NOT NULL, -- by the committing process' clock
	PRIMARY KEY (epoch, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
	shard   TEXT PRIMARY KEY NOT NULL,
	term    INTEGER NOT NULL, -- of the last leadership; grows for ever
	process TEXT NOT NULL     -- processes.id of the holder; '': free
) STRICT, WITHOUT ROWID;

CREATE TABLE processes (
	id       TEXT PRIMARY KEY NOT NULL, -- differs from one start of a process to the next
	name     TEXT NOT NULL,
	beat     INTEGER NOT NULL,
	ttl      INTEGER NOT NULL, -- of its leases
	beaten   INTEGER NOT NULL, -- the last heartbeat, by the process' clock: for people, no leadership is decided by it
	report   TEXT,
	reported INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
	n         INTEGER PRIMARY KEY AUTOINCREMENT,
	id        BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
	shard     TEXT NOT NULL,
	seq       TEXT NOT NULL,
	sub       INTEGER NOT NULL, -- -1: not part of an aggregate
	arrived   INTEGER NOT NULL,
	type      TEXT NOT NULL,
	project   TEXT NOT NULL,
	ref       TEXT NOT NULL,
	change    INTEGER,
	created   INTEGER,
	queued_at INTEGER NOT NULL,
	payload   BLOB NOT NULL
) STRICT;
CREATE INDEX events_queued_at ON events (queued_at);

CREATE TABLE dead_letters (
	n        INTEGER PRIMARY KEY AUTOINCREMENT,
	id       BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
	shard    TEXT NOT NULL,
	seq      TEXT NOT NULL,
	sub      INTEGER NOT NULL,
	arrived  INTEGER NOT NULL,
	reason   TEXT NOT NULL,
	detail   TEXT NOT NULL,
	payload  BLOB NOT NULL, -- at most the first 64 KiB
	length   INTEGER NOT NULL,
	sha256   BLOB NOT NULL,
	put_aside_at INTEGER NOT NULL
) STRICT;

CREATE TABLE counters (
	name  TEXT PRIMARY KEY NOT NULL,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('expired', 0), ('discarded', 0);
`, `
-- gerritstream.MemberInfo as a JSON object; NULL: not advertised.
ALTER TABLE processes ADD COLUMN announcement TEXT;

-- Processes that wait for a shard which another leads, in the order of succession.
CREATE TABLE candidates (
	n       INTEGER PRIMARY KEY AUTOINCREMENT,
	process TEXT NOT NULL, -- processes.id
	shard   TEXT NOT NULL,
	UNIQUE (process, shard)
) STRICT;
`, `
-- When an event expires counts from its arrival or its queueing, whichever is later.
CREATE INDEX events_held_from ON events (max(arrived, queued_at));
DROP INDEX events_queued_at;

-- How far the programs that read the queue are. They write it themselves.
CREATE TABLE consumers (
	name TEXT PRIMARY KEY NOT NULL,
	n    INTEGER NOT NULL, -- of the last event handled
	at   INTEGER NOT NULL  -- when
) STRICT, WITHOUT ROWID;
`, `
-- gerritstream.Event.Attributes as a JSON object; NULL: none.
ALTER TABLE events ADD COLUMN attributes TEXT;
`, `
-- SQLite writes the whole row with each heartbeat. What grows with the number of shards has rows of its own.
CREATE TABLE members (
	process TEXT PRIMARY KEY NOT NULL, -- processes.id
	info    TEXT NOT NULL              -- gerritstream.MemberInfo as a JSON object
) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
	process  TEXT PRIMARY KEY NOT NULL, -- processes.id
	report   TEXT NOT NULL,             -- gerritstream.Status as a JSON object
	reported INTEGER NOT NULL           -- by the process' clock
) STRICT, WITHOUT ROWID;

CREATE TRIGGER forget_process AFTER DELETE ON processes BEGIN
	DELETE FROM members WHERE process = old.id;
	DELETE FROM reports WHERE process = old.id;
END;
ALTER TABLE processes DROP COLUMN announcement;
ALTER TABLE processes DROP COLUMN report;
ALTER TABLE processes DROP COLUMN reported;
`, `
-- How often these tables were changed, so that a process reads only those that were. Triggers count for every writer.
CREATE TABLE changes (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	leases     INTEGER NOT NULL,
	candidates INTEGER NOT NULL,
	members    INTEGER NOT NULL
) STRICT;
INSERT INTO changes VALUES (1, 1, 1, 1);

CREATE TRIGGER lease_inserted AFTER INSERT ON leases BEGIN UPDATE changes SET leases = leases + 1; END;
CREATE TRIGGER lease_updated AFTER UPDATE ON leases BEGIN UPDATE changes SET leases = leases + 1; END;
CREATE TRIGGER lease_deleted AFTER DELETE ON leases BEGIN UPDATE changes SET leases = leases + 1; END;
CREATE TRIGGER candidate_inserted AFTER INSERT ON candidates BEGIN UPDATE changes SET candidates = candidates + 1; END;
CREATE TRIGGER candidate_updated AFTER UPDATE ON candidates BEGIN UPDATE changes SET candidates = candidates + 1; END;
CREATE TRIGGER candidate_deleted AFTER DELETE ON candidates BEGIN UPDATE changes SET candidates = candidates + 1; END;
CREATE TRIGGER member_inserted AFTER INSERT ON members BEGIN UPDATE changes SET members = members + 1; END;
CREATE TRIGGER member_updated AFTER UPDATE ON members BEGIN UPDATE changes SET members = members + 1; END;
CREATE TRIGGER member_deleted AFTER DELETE ON members BEGIN UPDATE changes SET members = members + 1; END;
`, `
-- A consumer that gerritstream leases has, in the table of leases, the name "consumer:" and its own. A program that
-- keeps a row by itself leaves these columns alone.
ALTER TABLE consumers ADD COLUMN filter TEXT; -- queue.Filter as a JSON object; NULL: all events are its
ALTER TABLE consumers ADD COLUMN handed INTEGER NOT NULL DEFAULT 0; -- n of the last event handed out
ALTER TABLE consumers ADD COLUMN expired INTEGER NOT NULL DEFAULT 0; -- its events that were removed before their turn
ALTER TABLE consumers ADD COLUMN expired_from INTEGER; -- when the first and the last of these had arrived
ALTER TABLE consumers ADD COLUMN expired_to INTEGER;
`, `
-- Events appended to the queue of one consumer. n is drawn from the same sequence as events.n.
CREATE TABLE additions (
	n          INTEGER PRIMARY KEY,
	consumer   TEXT NOT NULL, -- consumers.name
	id         BLOB NOT NULL CHECK (length(id) = 16),
	shard      TEXT NOT NULL,
	seq        TEXT NOT NULL,
	sub        INTEGER NOT NULL,
	arrived    INTEGER NOT NULL,
	type       TEXT NOT NULL,
	project    TEXT NOT NULL,
	ref        TEXT NOT NULL,
	change     INTEGER,
	created    INTEGER,
	queued_at  INTEGER NOT NULL, -- when it was appended
	payload    BLOB NOT NULL,
	attributes TEXT,
	UNIQUE (consumer, id)
) STRICT;
CREATE INDEX additions_of ON additions (consumer, n);

-- What a consumer has passed, and what was left of one that is removed, goes whoever writes.
CREATE TRIGGER consumer_passed AFTER UPDATE OF n ON consumers WHEN new.n > old.n BEGIN
	DELETE FROM additions WHERE consumer = new.name AND n <= new.n;
END;
CREATE TRIGGER consumer_removed AFTER DELETE ON consumers BEGIN
	DELETE FROM additions WHERE consumer = old.name;
END;
`, `
-- The events acknowledged beyond n: a JSON list of lists of a first and a last number, ascending; NULL: none.
ALTER TABLE consumers ADD COLUMN beyond TEXT;
CREATE TRIGGER consumer_acknowledged AFTER UPDATE OF beyond ON consumers WHEN new.beyond IS NOT NULL BEGIN
	DELETE FROM additions WHERE n IN (SELECT a.n FROM json_each(new.beyond) r CROSS JOIN additions a
		ON a.consumer = new.name AND a.n BETWEEN r.value->>0 AND r.value->>1);
END;
`, `
-- What is kept of webhooks. The consumer of each has the name "webhook:" and its own.
CREATE TABLE webhooks (
	name         TEXT PRIMARY KEY NOT NULL,
	report       TEXT, -- webhook.Report as a JSON object; NULL: none yet
	pause        TEXT, -- webhook.Pause as a JSON object; NULL: it is not paused
	dead_letters INTEGER NOT NULL DEFAULT 0, -- held
	given_up     INTEGER NOT NULL DEFAULT 0  -- how many there ever were
) STRICT, WITHOUT ROWID;

-- The dead letters of webhooks, each with the whole event.
CREATE TABLE webhook_letters (
	letter     INTEGER PRIMARY KEY AUTOINCREMENT,
	webhook    TEXT NOT NULL, -- webhooks.name
	n          INTEGER NOT NULL, -- of the event in the hook's queue
	id         BLOB NOT NULL CHECK (length(id) = 16),
	shard      TEXT NOT NULL,
	seq        TEXT NOT NULL,
	sub        INTEGER NOT NULL,
	arrived    INTEGER NOT NULL,
	type       TEXT NOT NULL,
	project    TEXT NOT NULL,
	ref        TEXT NOT NULL,
	change     INTEGER,
	created    INTEGER,
	queued_at  INTEGER NOT NULL,
	payload    BLOB NOT NULL,
	attributes TEXT,
	replayed   INTEGER NOT NULL, -- 1: it was appended for the hook alone
	detail     TEXT NOT NULL,
	put_aside_at INTEGER NOT NULL,
	UNIQUE (id, webhook)
) STRICT;

CREATE TRIGGER webhook_letter_inserted AFTER INSERT ON webhook_letters BEGIN
	INSERT INTO webhooks (name, dead_letters, given_up) VALUES (new.webhook, 1, 1)
		ON CONFLICT DO UPDATE SET dead_letters = dead_letters + 1, given_up = given_up + 1;
END;
CREATE TRIGGER webhook_letter_deleted AFTER DELETE ON webhook_letters BEGIN
	UPDATE webhooks SET dead_letters = dead_letters - 1 WHERE name = old.webhook;
END;

-- All goes with the consumer.
CREATE TRIGGER webhook_removed AFTER DELETE ON consumers WHEN old.name LIKE 'webhook:%' BEGIN
	DELETE FROM webhook_letters WHERE webhook = substr(old.name, length('webhook:') + 1);
	DELETE FROM webhooks WHERE name = substr(old.name, length('webhook:') + 1);
END;
`, `
-- What a consumer by arrival was handed out beyond handed.
ALTER TABLE consumers ADD COLUMN ahead INTEGER NOT NULL DEFAULT 0;

-- How far processes know the shards to be read into the queue.
CREATE TABLE frontiers (
	process TEXT PRIMARY KEY NOT NULL, -- processes.id
	epoch   INTEGER NOT NULL,
	until   TEXT NOT NULL              -- a JSON object: by shard, what arrived before is in the queue; 0: not known
) STRICT, WITHOUT ROWID;
CREATE TABLE frontier_asked (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	at  INTEGER NOT NULL -- when a consumer by arrival wanted to know it
) STRICT;
INSERT INTO frontier_asked VALUES (1, 0);
`, `
-- The shards that no process may commit for.
CREATE TABLE pauses (
	shard TEXT PRIMARY KEY NOT NULL, -- '': all shards
	pause TEXT NOT NULL              -- pauses.Encode
) STRICT, WITHOUT ROWID;

ALTER TABLE changes ADD COLUMN pauses INTEGER NOT NULL DEFAULT 1;
CREATE TRIGGER pause_inserted AFTER INSERT ON pauses BEGIN UPDATE changes SET pauses = pauses + 1; END;
CREATE TRIGGER pause_updated AFTER UPDATE ON pauses BEGIN UPDATE changes SET pauses = pauses + 1; END;
CREATE TRIGGER pause_deleted AFTER DELETE ON pauses BEGIN UPDATE changes SET pauses = pauses + 1; END;
`}

// The schema versions from which on events have attributes, consumers what is
// read of them, webhooks tables, and shards can be paused.
const (
	attributesSince = 4
	consumersSince  = 11
	webhooksSince   = 10
	pausesSince     = 12
)

// prepareNew sets what cannot be changed later. Events of two to three
// kilobytes fill pages of 8 KiB well, and SQLite's 4 KiB by half.
const prepareNew = "PRAGMA page_size=8192"

// schema identifies a file.
type schema struct {
	application int64
	version     int
	objects     int
	moved       *moved // nil unless another store has what it held
}

// setJournal ensures that the file is in WAL mode and that its -wal file is
// open: a restored copy may have lost the mode, and without it readers and
// writers block each other. Where the mode is set, it changes nothing.
func setJournal(ctx context.Context, q querier) error {
	var mode string
	err := whileBusy(ctx, func() error { return q.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode) })
	if err == nil && mode != "wal" {
		err = fmt.Errorf("its journal mode is %q and cannot be made WAL", mode)
	}
	if err == nil {
		_, err = readSchema(ctx, q) // the first read opens the -wal file
	}
	return err
}

// readSchema reads what a file is, without changing it.
func readSchema(ctx context.Context, q querier) (s schema, err error) {
	err = q.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`).
		Scan(&s.application, &s.version, &s.objects)
	if err == nil && s.application == movedID {
		s.moved, err = readMoved(ctx, q)
	}
	return s, err
}

// empty reports whether nobody has written to the file yet.
func (s schema) empty() bool { return s == schema{} }

// check refuses files of other programs and of newer versions of this one.
func (s schema) check() error {
	switch {
	case s.moved != nil:
		return s.moved.refusal()
	case s.application != applicationID && !s.empty():
		return errors.New("it is another program's SQLite database: choose another file")
	case s.version > len(migrations):
		return fmt.Errorf("it has schema version %d, this program knows up to %d (%w): run the newer version, "+
			"or choose another file", s.version, len(migrations), gerritstream.ErrNewerFormat)
	}
	return nil
}

// migrate brings the file up to date. Several processes may try at once: each
// step is a transaction that reads the version again.
func migrate(ctx context.Context, conn *sql.Conn) error {
	s, err := readSchema(ctx, conn)
	if err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	if s.empty() {
		if err := exec(ctx, conn, prepareNew); err != nil {
			return err
		}
	}
	if err := setJournal(ctx, conn); err != nil || s.version == len(migrations) {
		return err
	}
	for done := false; !done; {
		if done, err = migrateOnce(ctx, conn); err != nil {
			return err
		}
	}
	return nil
}

// migrateOnce takes one step. done: there is none left to take.
func migrateOnce(ctx context.Context, conn *sql.Conn) (done bool, err error) {
	if err := whileBusy(ctx, func() error { return exec(ctx, conn, "BEGIN IMMEDIATE") }); err != nil {
		return false, err
	}
	defer func() {
		if err != nil || done {
			_ = exec(context.WithoutCancel(ctx), conn, "ROLLBACK")
		}
	}()
	s, err := readSchema(ctx, conn)
	if err != nil {
		return false, err
	}
	if err := s.check(); err != nil || s.version == len(migrations) {
		return err == nil, err
	}
	return false, exec(ctx, conn, fmt.Sprintf("%s; PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
		migrations[s.version], applicationID, s.version+1))
}

// whileBusy repeats what another process' lock prevents, for some seconds:
// SQLite's own waiting does not cover every lock that a change of the journal
// mode takes.
func whileBusy(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*busyTimeout)
	defer cancel()
	for {
		err := do()
		if code(err) != lib.SQLITE_BUSY || !storekit.Sleep(ctx, 10*time.Millisecond) {
			return err
		}
	}
}

func exec(ctx context.Context, conn *sql.Conn, statement string) error {
	_, err := conn.ExecContext(ctx, statement)
	return err
}
