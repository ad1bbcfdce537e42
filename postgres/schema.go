package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
)

const (
	// timeline is the server's timeline, as eight characters.
	timeline = `left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)`

	// timelineStep is how many numbers a change of the timeline leaves out:
	// more than events can have been rolled back.
	timelineStep = `1000000`
)

// migrations lead from each schema version to the next; their number is the
// version this program knows. A migration that was released is never changed.
// "@." stands for the schema.
//
// Text that is compared or sorted is in the collation "C": by bytes, as Go
// does, and the same on every server. Rows that are updated all the time (head,
// positions, leases, processes) have room in their page for the next version of
// the row and no index on what changes, so that no index is written (HOT), and
// are vacuumed early.
var migrations = []string{`
-- What this program knows the schema by.
CREATE TABLE @.gerritstream (
	one     boolean PRIMARY KEY DEFAULT true CHECK (one),
	version integer NOT NULL
);

CREATE TABLE @.start (
	one    boolean PRIMARY KEY DEFAULT true CHECK (one),
	epoch  integer NOT NULL, -- of the record
	record text NOT NULL     -- storekit.EncodeOrigin
);

CREATE TABLE @.positions (
	epoch     integer NOT NULL,
	shard     text COLLATE "C" NOT NULL,
	position  text NOT NULL,            -- storekit.EncodePosition
	nonce     text NOT NULL DEFAULT '', -- of the commit that wrote it
	follows   text NOT NULL DEFAULT '', -- the nonce that was stored before
	committed timestamptz,              -- by the committing process' clock; NULL: not known
	PRIMARY KEY (epoch, shard)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE @.leases (
	shard   text COLLATE "C" PRIMARY KEY,
	term    bigint NOT NULL, -- of the last leadership; grows for ever
	process text NOT NULL    -- processes.id of the holder; '': free
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The shards that are not read for now.
CREATE TABLE @.pauses (
	shard text COLLATE "C" PRIMARY KEY, -- '': all shards
	pause text NOT NULL                 -- pauses.Encode
);

CREATE TABLE @.processes (
	id     text COLLATE "C" PRIMARY KEY, -- differs from one start of a process to the next
	name   text NOT NULL,
	beat   bigint NOT NULL,
	ttl    bigint NOT NULL,     -- of its leases, in milliseconds
	beaten timestamptz NOT NULL -- the last heartbeat, by the server's clock: no leadership is decided by it
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE @.members (
	process text COLLATE "C" PRIMARY KEY REFERENCES @.processes (id) ON DELETE CASCADE,
	info    text NOT NULL -- gerritstream.MemberInfo as a JSON object
);

CREATE TABLE @.reports (
	process  text COLLATE "C" PRIMARY KEY REFERENCES @.processes (id) ON DELETE CASCADE,
	report   text NOT NULL,       -- gerritstream.Status as a JSON object
	reported timestamptz NOT NULL -- by the process' clock
) WITH (fillfactor = 50);

-- Processes that wait for a shard which another leads, in the order of succession. The unique index is that by which
-- a process' rows are found and removed; the table is as small as the group.
CREATE TABLE @.candidates (
	n       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	process text COLLATE "C" NOT NULL REFERENCES @.processes (id) ON DELETE CASCADE,
	shard   text COLLATE "C" NOT NULL,
	UNIQUE (process, shard)
);

-- The number given last. A transaction that gives numbers changes this row and keeps it locked until it ends: numbers
-- are in the order of the commits, and when a number can be read, all before it can be.
--
-- A server that becomes the primary, or is restored to a point in time, begins a new timeline, and may lack the last
-- transactions of the one before. Their numbers are not given again: readers may have seen them, and would pass over
-- other events under the same ones. So in a new timeline numbers go on a long way after those that are known.
CREATE TABLE @.head (
	one      boolean PRIMARY KEY DEFAULT true CHECK (one),
	n        bigint NOT NULL,
	timeline text COLLATE "C" NOT NULL -- of the server when n was given; '': not known
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO @.head VALUES (true, 0, '');
CREATE FUNCTION @.timeline_changed() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
	new.n := new.n + CASE old.timeline WHEN '' THEN 0 ELSE ` + timelineStep + ` END;
	new.timeline := ` + timeline + `;
	RETURN new;
END $body$;
DO $body$
BEGIN
	PERFORM ` + timeline + `;
	CREATE TRIGGER timeline_changed BEFORE UPDATE ON @.head FOR EACH ROW
		WHEN (old.timeline <> ` + timeline + `) EXECUTE FUNCTION @.timeline_changed();
EXCEPTION WHEN feature_not_supported THEN
	NULL; -- a service whose servers share their storage has no timelines, and rolls nothing back
END $body$;

-- Indexes: n, by which everybody reads, grows, so that its index and the table are written at their ends. id makes an
-- event's identity unique; it is the only index that is written at random places, 16 bytes and some an event. The one
-- on the time from which an event is held, which grows with n but for the differences between clocks, is for whoever
-- reads from a time on, for retention, and to count events without reading their rows.
CREATE TABLE @.events (
	n          bigint PRIMARY KEY,
	arrived    timestamptz NOT NULL,
	queued_at  timestamptz NOT NULL,
	created    timestamptz,
	change     bigint,
	id         uuid NOT NULL UNIQUE,
	sub        integer NOT NULL, -- -1: not part of an aggregate
	shard      text COLLATE "C" NOT NULL,
	seq        text COLLATE "C" NOT NULL,
	type       text COLLATE "C" NOT NULL,
	project    text COLLATE "C" NOT NULL,
	ref        text COLLATE "C" NOT NULL,
	attributes json, -- gerritstream.Event.Attributes as a JSON object; NULL: none
	payload    bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
	autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX events_held_from ON @.events (greatest(arrived, queued_at), n);

CREATE TABLE @.dead_letters (
	n        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id       uuid NOT NULL UNIQUE,
	arrived  timestamptz NOT NULL,
	put_aside_at timestamptz NOT NULL,
	sub      integer NOT NULL,
	length   bigint NOT NULL,
	shard    text COLLATE "C" NOT NULL,
	seq      text COLLATE "C" NOT NULL,
	reason   text COLLATE "C" NOT NULL,
	detail   text NOT NULL,
	sha256   bytea NOT NULL,
	payload  bytea NOT NULL -- at most the first 64 KiB
);

-- How much is kept of dead letters. A trigger keeps it. Whoever adds some locks the row first.
CREATE TABLE @.dead_letter_room (
	one   boolean PRIMARY KEY DEFAULT true CHECK (one),
	held  bigint NOT NULL,
	bytes bigint NOT NULL -- of their payloads
) WITH (fillfactor = 50);
INSERT INTO @.dead_letter_room VALUES (true, 0, 0);
CREATE FUNCTION @.dead_letter_changed() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
	IF TG_OP = 'INSERT' THEN
		UPDATE @.dead_letter_room SET held = held + 1, bytes = bytes + length(new.payload);
	ELSE
		UPDATE @.dead_letter_room SET held = held - 1, bytes = bytes - length(old.payload);
	END IF;
	RETURN NULL;
END $body$;
CREATE TRIGGER changed AFTER INSERT OR DELETE ON @.dead_letters FOR EACH ROW
	EXECUTE FUNCTION @.dead_letter_changed();

CREATE TABLE @.counters (
	name  text COLLATE "C" PRIMARY KEY,
	value bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO @.counters VALUES ('expired', 0), ('discarded', 0);

-- How far the programs that read the queue are. A program that keeps a row by itself writes name, n and at, and leaves
-- the rest alone. A consumer that gerritstream leases has, in the table of leases, the name "consumer:" and its own.
CREATE TABLE @.consumers (
	name         text COLLATE "C" PRIMARY KEY,
	n            bigint NOT NULL,           -- of the last event before which, and with which, all are handled
	at           timestamptz NOT NULL,      -- when
	filter       text,                      -- queue.Filter as a JSON object; NULL: all events are its
	handed       bigint NOT NULL DEFAULT 0, -- n of the last event handed out
	ahead        bigint NOT NULL DEFAULT 0, -- what a consumer by arrival was handed out beyond handed
	beyond       text,                      -- acknowledged beyond n: a JSON list of lists of a first and a last number
	expired      bigint NOT NULL DEFAULT 0, -- its events that were removed before their turn
	expired_from timestamptz,               -- when the first and the last of these had arrived
	expired_to   timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Events appended to the queue of one consumer. n is given by the table head, as that of events is. The second index
-- is the order in which a consumer reads them.
CREATE TABLE @.additions (
	n          bigint PRIMARY KEY,
	arrived    timestamptz NOT NULL,
	queued_at  timestamptz NOT NULL, -- when it was appended
	created    timestamptz,
	change     bigint,
	id         uuid NOT NULL,
	sub        integer NOT NULL,
	consumer   text COLLATE "C" NOT NULL, -- consumers.name
	shard      text COLLATE "C" NOT NULL,
	seq        text COLLATE "C" NOT NULL,
	type       text COLLATE "C" NOT NULL,
	project    text COLLATE "C" NOT NULL,
	ref        text COLLATE "C" NOT NULL,
	attributes json,
	payload    bytea NOT NULL,
	UNIQUE (consumer, id)
);
CREATE INDEX additions_of ON @.additions (consumer, n);

-- What is kept of webhooks. The consumer of each has the name "webhook:" and its own.
CREATE TABLE @.webhooks (
	name         text COLLATE "C" PRIMARY KEY,
	report       text, -- webhook.Report as a JSON object; NULL: none yet
	pause        text, -- webhook.Pause as a JSON object; NULL: it is not paused
	dead_letters bigint NOT NULL DEFAULT 0, -- held
	given_up     bigint NOT NULL DEFAULT 0  -- how many there ever were
);

-- The dead letters of webhooks, each with the whole event. They are listed by letter and found by id.
CREATE TABLE @.webhook_letters (
	letter     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	n          bigint NOT NULL, -- of the event in the hook's queue
	arrived    timestamptz NOT NULL,
	queued_at  timestamptz NOT NULL,
	created    timestamptz,
	put_aside_at timestamptz NOT NULL,
	change     bigint,
	id         uuid NOT NULL,
	sub        integer NOT NULL,
	replayed   boolean NOT NULL,              -- it was appended for the hook alone
	webhook    text COLLATE "C" NOT NULL, -- webhooks.name
	shard      text COLLATE "C" NOT NULL,
	seq        text COLLATE "C" NOT NULL,
	type       text COLLATE "C" NOT NULL,
	project    text COLLATE "C" NOT NULL,
	ref        text COLLATE "C" NOT NULL,
	attributes json,
	payload    bytea NOT NULL,
	detail     text NOT NULL,
	UNIQUE (id, webhook)
);

-- How far processes know the shards to be read into the queue.
CREATE TABLE @.frontiers (
	process text COLLATE "C" PRIMARY KEY REFERENCES @.processes (id) ON DELETE CASCADE,
	epoch   integer NOT NULL,
	until   text NOT NULL -- a JSON object: by shard, what arrived before is in the queue; 0: not known
) WITH (fillfactor = 50);
CREATE TABLE @.frontier_asked (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	at  timestamptz NOT NULL -- when a consumer by arrival wanted to know it, by the server's clock
) WITH (fillfactor = 50);
INSERT INTO @.frontier_asked VALUES (true, '1970-01-01Z');

-- lz4 costs 18 microseconds of processor time a row of 2.6 kB, where pglz costs 33 and leaving it uncompressed 27; it
-- takes as little room as pglz. A server that has not been built with it, or is older than 14, keeps pglz.
DO $body$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['events', 'additions', 'dead_letters', 'webhook_letters'] LOOP
		EXECUTE $sql$ALTER TABLE @.$sql$ || t || ' ALTER payload SET COMPRESSION lz4';
	END LOOP;
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
	NULL;
END $body$;

-- How often these tables were changed, so that a process reads only those that were. Triggers count for every writer,
-- and wake those that listen on the channel with the schema's name.
CREATE TABLE @.changes (
	one        boolean PRIMARY KEY DEFAULT true CHECK (one),
	leases     bigint NOT NULL,
	candidates bigint NOT NULL,
	members    bigint NOT NULL,
	pauses     bigint NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO @.changes VALUES (true, 1, 1, 1, 1);

CREATE FUNCTION @.changed() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
	UPDATE @.changes SET
		leases = leases + (TG_TABLE_NAME = 'leases')::int,
		candidates = candidates + (TG_TABLE_NAME = 'candidates')::int,
		members = members + (TG_TABLE_NAME = 'members')::int,
		pauses = pauses + (TG_TABLE_NAME = 'pauses')::int;
	PERFORM pg_notify(TG_TABLE_SCHEMA, '');
	RETURN NULL;
END $body$;
CREATE TRIGGER changed AFTER INSERT OR DELETE ON @.leases FOR EACH ROW EXECUTE FUNCTION @.changed();
CREATE TRIGGER updated AFTER UPDATE ON @.leases FOR EACH ROW WHEN (old IS DISTINCT FROM new)
	EXECUTE FUNCTION @.changed();
CREATE TRIGGER changed AFTER INSERT OR DELETE ON @.candidates FOR EACH ROW EXECUTE FUNCTION @.changed();
CREATE TRIGGER updated AFTER UPDATE ON @.candidates FOR EACH ROW WHEN (old IS DISTINCT FROM new)
	EXECUTE FUNCTION @.changed();
CREATE TRIGGER changed AFTER INSERT OR DELETE OR UPDATE ON @.pauses FOR EACH ROW EXECUTE FUNCTION @.changed();
CREATE TRIGGER changed AFTER INSERT OR DELETE ON @.members FOR EACH ROW EXECUTE FUNCTION @.changed();
CREATE TRIGGER updated AFTER UPDATE ON @.members FOR EACH ROW WHEN (old IS DISTINCT FROM new)
	EXECUTE FUNCTION @.changed();

-- What a consumer has passed, and what was left of one that is removed, goes whoever writes.
CREATE FUNCTION @.consumer_passed() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
	DELETE FROM @.additions WHERE consumer = new.name AND n <= new.n;
	RETURN NULL;
END $body$;
CREATE TRIGGER passed AFTER UPDATE ON @.consumers FOR EACH ROW WHEN (new.n > old.n)
	EXECUTE FUNCTION @.consumer_passed();

CREATE FUNCTION @.consumer_acknowledged() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
	DELETE FROM @.additions a USING json_array_elements(new.beyond::json) r
		WHERE a.consumer = new.name AND a.n BETWEEN (r ->> 0)::bigint AND (r ->> 1)::bigint;
	RETURN NULL;
END $body$;
CREATE TRIGGER acknowledged AFTER UPDATE ON @.consumers FOR EACH ROW
	WHEN (new.beyond IS NOT NULL AND new.beyond IS DISTINCT FROM old.beyond)
	EXECUTE FUNCTION @.consumer_acknowledged();

CREATE FUNCTION @.consumer_removed() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
	hook text := substr(old.name, length('webhook:') + 1);
BEGIN
	DELETE FROM @.additions WHERE consumer = old.name;
	IF starts_with(old.name, 'webhook:') THEN
		DELETE FROM @.webhook_letters WHERE webhook = hook;
		DELETE FROM @.webhooks WHERE name = hook;
	END IF;
	RETURN NULL;
END $body$;
CREATE TRIGGER removed AFTER DELETE ON @.consumers FOR EACH ROW EXECUTE FUNCTION @.consumer_removed();

CREATE FUNCTION @.webhook_letter_inserted() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
	INSERT INTO @.webhooks AS w (name, dead_letters, given_up) VALUES (new.webhook, 1, 1)
		ON CONFLICT (name) DO UPDATE SET dead_letters = w.dead_letters + 1, given_up = w.given_up + 1;
	RETURN NULL;
END $body$;
CREATE TRIGGER inserted AFTER INSERT ON @.webhook_letters FOR EACH ROW
	EXECUTE FUNCTION @.webhook_letter_inserted();

CREATE FUNCTION @.webhook_letter_deleted() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
	UPDATE @.webhooks SET dead_letters = dead_letters - 1 WHERE name = old.webhook;
	RETURN NULL;
END $body$;
CREATE TRIGGER deleted AFTER DELETE ON @.webhook_letters FOR EACH ROW EXECUTE FUNCTION @.webhook_letter_deleted();
`}

// The oldest server that has all that is used: identity columns, ON CONFLICT,
// COMMIT that reports a rollback, settings of autovacuum for insertions.
const oldestServer = 130000

// server is what a connection has found out about the server and the schema.
type server struct {
	number   int    // of its version, as 150004
	encoding string // of the database
	standby  bool   // or otherwise not to be written to
	unsafe   string // a setting with which a crash of the server's host loses or damages data; empty: none
	direct   bool   // no pooler is between

	schema  bool // it is there
	tables  int  // in it
	marked  bool // by this program
	version int  // of the schema; 0: none
}

// inspectServer reads what the server and the schema are, without changing
// anything.
func inspectServer(ctx context.Context, conn *pgx.Conn, schema string) (s *server, err error) {
	s = &server{}
	var pid uint32
	var readOnly, fsync, pages string
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
			pg_is_in_recovery(), current_setting('transaction_read_only'),
			current_setting('fsync'), current_setting('full_page_writes'), pg_backend_pid()`, pgx.QueryExecModeExec).
		Scan(&s.number, &s.encoding, &s.standby, &readOnly, &fsync, &pages, &pid)
	if err != nil {
		return nil, err
	}
	s.standby = s.standby || readOnly == "on"
	switch {
	case fsync != "on":
		s.unsafe = "fsync"
	case pages != "on":
		s.unsafe = "full_page_writes"
	}
	// A pooler gives a client another number than that of the server's process.
	s.direct = pid == conn.PgConn().PID()
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1),
			(SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
				WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')),
			EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
				WHERE n.nspname = $1 AND c.relname = 'gerritstream')`, pgx.QueryExecModeExec, schema).
		Scan(&s.schema, &s.tables, &s.marked)
	if err == nil && s.marked {
		err = conn.QueryRow(ctx, withSchema(`SELECT version FROM @.gerritstream`, quote(schema)),
			pgx.QueryExecModeExec).Scan(&s.version)
		if errors.Is(err, pgx.ErrNoRows) || code(err) == "42703" {
			s.marked, err = false, nil
		}
	}
	return s, err
}

// check refuses servers that cannot be used, schemas of other programs and of
// newer versions of this one.
func (s *server) check(schema string) error {
	switch {
	case s.number < oldestServer:
		return fmt.Errorf("%w: the server is PostgreSQL %d: version %d or later is needed",
			gerritstream.ErrUnusable, s.number/10000, oldestServer/10000)
	case s.encoding != "UTF8":
		return fmt.Errorf("%w: the database's encoding is %s: make one with encoding UTF8",
			gerritstream.ErrUnusable, s.encoding)
	case s.tables > 0 && !s.marked:
		return fmt.Errorf("%w: the schema %s holds another program's tables: choose another schema",
			gerritstream.ErrUnusable, schema)
	case s.version > len(migrations):
		return fmt.Errorf("the schema %s has version %d, this program knows up to %d (%w): run the newer version, "+
			"or choose another schema", schema, s.version, len(migrations), gerritstream.ErrNewerFormat)
	}
	return nil
}

// checkWritable refuses a server that does not write.
func (s *server) checkWritable() error {
	if s.standby {
		return fmt.Errorf("%w: the server is read-only, such as a standby: name the primary, "+
			"or all servers and target_session_attrs=read-write", gerritstream.ErrUnusable)
	}
	return nil
}

// migratePatience bounds a migration, with the waiting for another process that
// migrates.
const migratePatience = 5 * time.Minute

// migrate brings the schema up to date, if it is not. Several processes may try
// at once: one does it, under a lock that ends with its transaction, so that a
// pooler does not matter. The others find it done.
func migrate(ctx context.Context, conn *pgx.Conn, schema string, found *server) error {
	if found.version == len(migrations) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, migratePatience)
	defer cancel()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, pgx.QueryExecModeExec, lockKey(schema)); err != nil {
		return err
	}
	now, err := inspectServer(ctx, conn, schema)
	if err != nil {
		return err
	}
	if err := now.check(schema); err != nil {
		return err
	}
	script := ""
	for version := now.version; version < len(migrations); version++ {
		script += migrations[version]
	}
	if now.version < len(migrations) {
		script += fmt.Sprintf(`INSERT INTO @.gerritstream (version) VALUES (%d)
			ON CONFLICT (one) DO UPDATE SET version = excluded.version;`, len(migrations))
	}
	if script = withSchema(script, quote(schema)); !now.schema {
		script = `CREATE SCHEMA ` + quote(schema) + `;` + script
	}
	if _, err := conn.PgConn().Exec(ctx, script).ReadAll(); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// lockKey is the advisory lock under which a schema is migrated.
func lockKey(schema string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("gerritstream " + schema)) // it never fails
	return int64(h.Sum64())
}
