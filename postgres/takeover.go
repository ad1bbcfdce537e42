package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// takenTable is a table that is taken over.
type takenTable struct {
	name, order string
	kinds       map[string]kind
	sequence    string // the column whose values are generated
}

// takenOver are the tables that are taken over from another store, in an order
// in which the triggers do no harm: the letters of webhooks count themselves
// before what is known of the webhooks is written. Their columns are named as
// the other store's; kinds says what is not written as it was read.
var takenOver = []takenTable{
	{name: "start", order: "record"},
	{name: "positions", order: "epoch, shard", kinds: map[string]kind{"committed": aTime}},
	{name: "leases", order: "shard"},
	{name: "pauses", order: "shard"},
	{name: "counters", order: "name"},
	{name: "events", order: "n", kinds: eventKinds},
	{name: "dead_letters", order: "n", kinds: eventKinds, sequence: "n"},
	{name: "consumers", order: "name", kinds: map[string]kind{
		"at": aTime, "expired_from": aTime, "expired_to": aTime,
	}},
	{name: "additions", order: "n", kinds: eventKinds},
	{name: "webhook_letters", order: "letter", kinds: eventKinds, sequence: "letter"},
	{name: "webhooks", order: "name"},
}

// kind is how a value of another store is written here.
type kind int

const (
	asIs      kind = iota
	aTime          // milliseconds since 1970
	anID           // 16 bytes
	aBoolean       // 0 or 1
	aDocument      // JSON
	aPayload       // bytes, which are compared by their digest
)

var eventKinds = map[string]kind{
	"id": anID, "arrived": aTime, "created": aTime, "queued_at": aTime, "put_aside_at": aTime,
	"attributes": aDocument, "payload": aPayload, "replayed": aBoolean,
}

// sequences is the table of the numbers that another store has given last.
const sequences = "sqlite_sequence"

// Taken is what a schema has taken over.
type Taken struct {
	Rows map[string]int64 // by table
	Was  bool             // it had everything before

	// Unknown: an error says that it may have everything, or nothing.
	Unknown bool
}

// TakeOver fills a schema with what another store gives: all of it, or nothing.
// The schema is made if it is missing, and must be empty, or hold the same
// already. Everything is read again and compared before it counts: each row,
// and the digest of each payload. progress is called now and then.
func TakeOver(ctx context.Context, config Config, tables []storekit.Table, progress func(table string, rows int64)) (
	taken Taken, err error,
) {
	if err := config.complete(); err != nil {
		return taken, fmt.Errorf("open store: %w: %w", gerritstream.ErrUnusable, err)
	}
	where := "PostgreSQL"
	defer func() {
		if err != nil {
			err = openError("copy to", where, err)
		}
	}()
	pool, err := config.connecting(1)
	if err != nil {
		return taken, err
	}
	where = place(pool.ConnConfig, config.Schema)
	if _, err := prepareSchema(ctx, &config, roleOwner); err != nil {
		return taken, err
	}
	conn, err := connectOnce(ctx, &config)
	if err != nil {
		return taken, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	t := &takeover{conn: conn, schema: config.Schema, tables: map[string]storekit.Table{}, progress: progress}
	for _, table := range tables {
		t.tables[table.Name] = table
	}
	return t.run(ctx)
}

// isHeld is above zero where a schema holds a store, and not only its tables.
const isHeld = `(SELECT count(*) FROM @.start) + (SELECT count(*) FROM @.positions) + (SELECT count(*) FROM @.consumers)
	+ (SELECT n FROM @.head)`

// Target is a schema that may take a store over.
type Target struct {
	Made bool // it has its tables
	Held bool // a store is in them: the same one from an earlier time, or another
}

// LookAtTarget returns what the schema is, for TakeOver, and changes nothing.
// The errors are those of Exists; the role must own the tables as well.
func LookAtTarget(ctx context.Context, config Config) (target Target, err error) {
	if target.Made, err = Exists(ctx, config); err != nil || !target.Made {
		return target, err
	}
	_, err = look(config, "look at", func(c *Config) (*server, error) {
		conn, err := connectOnce(ctx, c)
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		var held int64
		var owns bool
		var user string
		err = conn.QueryRow(ctx, withSchema(`SELECT current_user, pg_has_role(relowner, 'USAGE'), `+isHeld+`
			FROM pg_class WHERE oid = $1::text::regclass`, quote(c.Schema)), quote(c.Schema)+".events").
			Scan(&user, &owns, &held)
		if err == nil && !owns {
			err = fmt.Errorf("%w: the role %s does not own the tables: copy as their owner",
				gerritstream.ErrDenied, user)
		}
		target.Held = held > 0
		return nil, err
	})
	return target, err
}

// lockTarget has others wait until a schema has taken everything over.
const lockTarget = `LOCK TABLE @.processes, @.start, @.leases IN SHARE ROW EXCLUSIVE MODE`

// Holds reports whether a schema that is there holds a store. It waits for the
// end of a TakeOver: the server may still be at work for one whose caller was
// killed.
func Holds(ctx context.Context, config Config) (holds bool, err error) {
	_, err = look(config, "look at", func(c *Config) (*server, error) {
		conn, err := connectOnce(ctx, c)
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // and ends the transaction
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
		if err != nil {
			return nil, err
		}
		var held int64
		_, err = tx.Exec(ctx, withSchema(lockTarget, quote(c.Schema)))
		if err == nil {
			err = tx.QueryRow(ctx, withSchema(`SELECT `+isHeld, quote(c.Schema))).Scan(&held)
		}
		holds = held > 0
		return nil, err
	})
	return holds, err
}

// takeover is one run of TakeOver.
type takeover struct {
	conn     *pgx.Conn
	schema   string
	tables   map[string]storekit.Table
	progress func(table string, rows int64)
}

func (t *takeover) run(ctx context.Context) (taken Taken, err error) {
	if err := t.checkKnown(); err != nil {
		return taken, err
	}
	tx, err := t.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return taken, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	// Nobody joins meanwhile: a process' first statement waits for this.
	if err := t.exec(ctx, lockTarget); err != nil {
		return taken, err
	}
	var processes, held int64
	if err := t.conn.QueryRow(ctx, t.sql(`SELECT (SELECT count(*) FROM @.processes), `+isHeld)).
		Scan(&processes, &held); err != nil {
		return taken, err
	}
	if taken.Was = held > 0; processes > 0 && !taken.Was {
		return taken, fmt.Errorf("%w: processes use it: stop them", gerritstream.ErrUnusable)
	}
	taken.Rows = map[string]int64{}
	for _, table := range takenOver {
		from := t.tables[table.name]
		sum := newDigest()
		rows := t.digested(ctx, from, table.kinds, sum)
		if taken.Was {
			err = drain(rows)
		} else {
			err = t.fill(ctx, from, table.kinds, rows)
		}
		if err != nil {
			return taken, fmt.Errorf("table %s: %w", table.name, err)
		}
		err = t.compare(ctx, from, table.order, table.kinds, sum)
		if taken.Was && errors.Is(err, errDiffers) {
			return taken, fmt.Errorf("%w (table %s: %w)", errNotEmpty, table.name, err)
		}
		if err != nil {
			return taken, fmt.Errorf("table %s: %w", table.name, err)
		}
		taken.Rows[table.name] = sum.rows
	}
	if taken.Was {
		return taken, nil
	}
	if err := t.number(ctx); err != nil {
		return taken, err
	}
	if err := tx.Commit(context.WithoutCancel(ctx)); err != nil { // the commit point
		taken.Unknown = !wroteNothing(err)
		return taken, err
	}
	return taken, nil
}

// checkKnown refuses rows that this store has no table for.
func (t *takeover) checkKnown() error {
	for name, from := range t.tables {
		known := slices.ContainsFunc(takenOver, func(table takenTable) bool { return table.name == name })
		if !known && name != sequences && from.Count > 0 {
			return fmt.Errorf("%w: it holds %s, which a store in PostgreSQL does not keep: remove them first",
				gerritstream.ErrUnusable, name)
		}
	}
	return nil
}

func (t *takeover) sql(text string) string { return withSchema(text, quote(t.schema)) }

func (t *takeover) exec(ctx context.Context, text string, args ...any) error {
	_, err := t.conn.Exec(ctx, t.sql(text), args...)
	return err
}

// digest is what rows are compared by.
type digest struct {
	rows int64
	hash hash.Hash
}

func newDigest() *digest { return &digest{hash: sha256.New()} }

// add adds a row. Each value has its type and its length before it, so that
// none runs into the next.
func (d *digest) add(row []any, columns []string, kinds map[string]kind) error {
	d.rows++
	for i, v := range row {
		var b []byte
		switch v := v.(type) {
		case nil:
			d.hash.Write([]byte{0})
			continue
		case int64:
			b = binary.BigEndian.AppendUint64(nil, uint64(v))
		case string:
			b = []byte(v)
		case []byte:
			b = v
			if kinds[columns[i]] == aPayload {
				sum := sha256.Sum256(v)
				b = sum[:]
			}
		default:
			return fmt.Errorf("column %s has a %T", columns[i], v)
		}
		d.hash.Write(binary.BigEndian.AppendUint64([]byte{1}, uint64(len(b))))
		d.hash.Write(b)
	}
	return nil
}

// digested yields the rows of another store's table, and adds them to a digest.
func (t *takeover) digested(ctx context.Context, from storekit.Table, kinds map[string]kind, sum *digest,
) iter.Seq2[[]any, error] {
	const often = 1000
	return func(yield func([]any, error) bool) {
		for row, err := range from.Rows(ctx) {
			if err == nil {
				err = sum.add(row, from.Columns, kinds)
			}
			if !yield(row, err) || err != nil {
				return
			}
			if sum.rows%often == 0 {
				t.progress(from.Name, sum.rows)
			}
		}
		t.progress(from.Name, sum.rows)
	}
}

func drain(rows iter.Seq2[[]any, error]) error {
	for _, err := range rows {
		if err != nil {
			return err
		}
	}
	return nil
}

// fill writes the rows of a table.
func (t *takeover) fill(
	ctx context.Context, from storekit.Table, kinds map[string]kind, rows iter.Seq2[[]any, error],
) error {
	switch from.Name {
	case "start":
		return t.each(ctx, rows, func(row []any) error {
			record, _ := row[0].(string)
			origin, err := storekit.DecodeOrigin([]byte(record))
			if err != nil {
				return err
			}
			return t.exec(ctx, `INSERT INTO @.start (epoch, record) VALUES ($1, $2)`, origin.Epoch, row[0])
		})
	case "leases": // nobody has them
		return t.each(ctx, rows, func(row []any) error {
			return t.exec(ctx, `INSERT INTO @.leases (shard, term, process) VALUES ($1, $2, '')`, row...)
		})
	case "counters":
		return t.each(ctx, rows, func(row []any) error {
			return t.exec(ctx, `INSERT INTO @.counters (name, value) VALUES ($1, $2)
				ON CONFLICT (name) DO UPDATE SET value = excluded.value`, row...)
		})
	case "webhooks": // their letters have made some of them
		if err := t.exec(ctx, `DELETE FROM @.webhooks`); err != nil {
			return err
		}
	}
	next, stop := iter.Pull2(rows)
	defer stop()
	_, err := t.conn.CopyFrom(ctx, pgx.Identifier{t.schema, from.Name}, from.Columns,
		pgx.CopyFromFunc(func() ([]any, error) {
			row, err, more := next()
			if !more || err != nil {
				return nil, err
			}
			written := make([]any, len(row))
			for i, v := range row {
				written[i] = kinds[from.Columns[i]].write(v)
			}
			return written, nil
		}))
	return err
}

func (t *takeover) each(ctx context.Context, rows iter.Seq2[[]any, error], do func([]any) error) error {
	for row, err := range rows {
		if err == nil {
			err = do(row)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// write returns a value as this store has it.
func (k kind) write(v any) any {
	switch v := v.(type) {
	case int64:
		switch k {
		case aTime:
			return time.UnixMilli(v)
		case aBoolean:
			return v != 0
		}
	case []byte:
		if k == anID {
			return [16]byte(v)
		}
	}
	return v
}

// read returns the expression that has a column's value as the other store has
// it, with the digest of a payload in its place.
func (k kind) read(column string) string {
	switch k {
	case aTime:
		return `round(extract(epoch FROM ` + column + `) * 1000)::bigint`
	case anID:
		return `uuid_send(` + column + `)`
	case aBoolean:
		return column + `::int::bigint`
	case aDocument:
		return column + `::text`
	case aPayload:
		return `sha256(` + column + `)`
	}
	return column
}

// errDiffers: what was written is not what was read.
var errDiffers = fmt.Errorf("%w: it does not hold the same", gerritstream.ErrUnusable)

// errNotEmpty: the schema is somebody else's.
var errNotEmpty = fmt.Errorf("%w: the schema holds another store: name a schema of its own (--postgres-schema), "+
	"or drop that one", gerritstream.ErrUnusable)

// compare reads a table again, and compares it with the other store's.
func (t *takeover) compare(
	ctx context.Context, from storekit.Table, order string, kinds map[string]kind, want *digest,
) error {
	expressions := make([]string, len(from.Columns))
	for i, column := range from.Columns {
		expressions[i] = kinds[column].read(column)
	}
	rows, err := t.conn.Query(ctx, t.sql(`SELECT `+strings.Join(expressions, ", ")+
		` FROM @.`+from.Name+` ORDER BY `+order))
	if err != nil {
		return err
	}
	got := newDigest()
	err = scanAll(rows, func(rows pgx.Rows) error {
		values, err := rows.Values()
		if err != nil {
			return err
		}
		for i, v := range values {
			if n, ok := v.(int32); ok {
				values[i] = int64(n)
			}
		}
		return got.add(values, from.Columns, nil) // payloads are digests already
	})
	if err == nil && got.rows != want.rows {
		err = fmt.Errorf("%w: %d rows instead of %d", errDiffers, got.rows, want.rows)
	}
	if err == nil && !bytes.Equal(got.hash.Sum(nil), want.hash.Sum(nil)) {
		err = fmt.Errorf("%w: the rows differ", errDiffers)
	}
	return err
}

// number has numbers go on after the last that the other store has given.
func (t *takeover) number(ctx context.Context) error {
	for row, err := range t.tables[sequences].Rows(ctx) {
		if err != nil {
			return err
		}
		if row[0] == "events" {
			err = t.exec(ctx, `UPDATE @.head SET n = greatest($1, (SELECT max(n) FROM @.events),
				(SELECT max(n) FROM @.additions))`, row[1])
		}
		for _, table := range takenOver {
			if err == nil && table.name == row[0] && table.sequence != "" && row[1] != int64(0) {
				err = t.exec(ctx, `SELECT setval(pg_get_serial_sequence($1, $2), $3)`,
					quote(t.schema)+"."+table.name, table.sequence, row[1])
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
