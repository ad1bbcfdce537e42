package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/postgres"
)

// pgPrefix begins the names of connections that a bench makes in PostgreSQL, in
// characters that the schema's name keeps.
const pgPrefix = "bench_"

// pgTarget is a prefix of connections' names. Each part, and each bare client,
// is a schema gerritstream_PREFIX_PART.
type pgTarget struct {
	config config.Config
	prefix string
	pool   *pgxpool.Pool
	left   []string // schemas of other benches
}

func claimPostgres(ctx context.Context, o *Options) (_ target, err error) {
	t := &pgTarget{config: o.Config, prefix: pgPrefix + strings.ToLower(rand.Text()[:idLength])}
	t.config.Store.Postgres.Schema = "" // that of the connection
	store, err := t.store("try")
	if err != nil {
		return nil, err
	}
	if _, err := postgres.Exists(ctx, store); err != nil { // it says what is wrong in one line
		return nil, err
	}
	if t.pool, err = connectPool(ctx, &store, 1); err != nil {
		return nil, err
	}
	uses, err := t.uses(ctx)
	for try := 0; try < 10 && err == nil && len(uses) > 0 && sleep(ctx, nil, 100*time.Millisecond); try++ {
		uses, err = t.uses(ctx) // a process of the server outlives its connection a little, such as that of Exists
	}
	if err == nil && len(uses) > 0 && !o.Shared {
		err = inUse("%s is in use: connections of %s; a bench would slow them down: name another server, "+
			"or allow it with --beside-others", t.config.Store.String(), strings.Join(uses, ", "))
	}
	if err == nil {
		t.left, err = t.texts(ctx, `SELECT nspname FROM pg_namespace
			WHERE nspname ~ '^gerritstream_bench_[a-z2-7]{8}_' ORDER BY nspname`)
	}
	if err != nil {
		t.pool.Close()
		return nil, err
	}
	return t, nil
}

// connectPool opens a pool of connections as a store has them.
func connectPool(ctx context.Context, store *postgres.Config, most int32) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(store.URL)
	if err != nil {
		return nil, errors.New("the address of the store cannot be used") // the error may have the password
	}
	c.MaxConns = most
	c.ConnConfig.RuntimeParams["application_name"] = "gerritstream bench"
	// A pooler keeps no statement for the next transaction.
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	c.BeforeConnect = func(ctx context.Context, conn *pgx.ConnConfig) (err error) {
		if store.Password != nil {
			conn.Password, err = store.Password(ctx)
		}
		return err
	}
	return pgxpool.NewWithConfig(ctx, c)
}

// uses says whose connections the server has, in all databases that are not for
// its own service alone, as a cloud has one.
func (t *pgTarget) uses(ctx context.Context) ([]string, error) {
	return t.texts(ctx, `SELECT coalesce(nullif(application_name, ''), 'a program without a name') || ' (' ||
			count(*) || ')' FROM pg_stat_activity
		WHERE usesysid IS NOT NULL AND pid <> pg_backend_pid() AND has_database_privilege(datid, 'CONNECT')
		GROUP BY application_name ORDER BY count(*) DESC, application_name LIMIT 5`)
}

// texts returns the rows of a query of one column.
func (t *pgTarget) texts(ctx context.Context, query string) ([]string, error) {
	rows, err := t.pool.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// store returns what opens a part.
func (t *pgTarget) store(name string) (postgres.Config, error) {
	c, err := t.part(name)
	if err != nil {
		return postgres.Config{}, err
	}
	return c.Postgres()
}

func (t *pgTarget) part(name string) (config.Config, error) {
	c := t.config
	c.Connection = t.prefix + "_" + name
	return c, nil
}

// table returns a part's table, quoted; "" is the schema.
func (t *pgTarget) table(part, table string) string {
	c := t.config
	c.Connection = t.prefix + "_" + part
	name := pgx.Identifier{c.PostgresSchema()}
	if table != "" {
		name = append(name, table)
	}
	return name.Sanitize()
}

func (t *pgTarget) exec(ctx context.Context, statement string) error {
	_, err := t.pool.Exec(ctx, statement)
	return err
}

func (t *pgTarget) empty(ctx context.Context, name string) error {
	return t.exec(ctx, `TRUNCATE `+t.table(name, "events"))
}

func (t *pgTarget) drop(ctx context.Context, name string) error {
	return t.exec(ctx, `DROP SCHEMA IF EXISTS `+t.table(name, "")+` CASCADE`)
}

func (t *pgTarget) flags() []string {
	if most := t.config.Store.Postgres.Connections; most > 0 {
		return []string{"--postgres-connections=" + strconv.Itoa(most)}
	}
	return nil
}

func (t *pgTarget) leftovers() (all []string) {
	for _, name := range t.left {
		all = append(all, fmt.Sprintf("Another bench has made the schema %s; if none runs, it was killed: "+
			"DROP SCHEMA %s CASCADE removes it", name, name))
	}
	return all
}

// remove removes all schemas of this bench.
func (t *pgTarget) remove(ctx context.Context) error {
	defer t.pool.Close()
	names, err := t.texts(ctx, `SELECT nspname FROM pg_namespace
		WHERE starts_with(nspname, 'gerritstream_`+t.prefix+`_')`)
	errs := []error{err}
	for _, name := range names {
		errs = append(errs, t.exec(ctx, `DROP SCHEMA IF EXISTS `+pgx.Identifier{name}.Sanitize()+` CASCADE`))
	}
	return errors.Join(errs...)
}

// barePostgres is connections to a schema that the store has made, so that its
// tables are the same, and no store uses.
type barePostgres struct {
	pool    *pgxpool.Pool
	numbers atomic.Int64 // the last one that was given
	empties func(context.Context) error

	insert, move, lease string // statements
}

// bareConnections is how many transactions a bare client has under way.
const bareConnections = 16

// bareArrays are the columns of events that a bare client writes, and their
// types.
var bareArrays = [][2]string{
	{"n", "bigint"}, {"id", "uuid"}, {"shard", "text"}, {"seq", "text"}, {"sub", "integer"},
	{"arrived", "timestamptz"}, {"type", "text"}, {"project", "text"}, {"ref", "text"}, {"change", "bigint"},
	{"created", "timestamptz"}, {"queued_at", "timestamptz"}, {"payload", "bytea"},
}

func (t *pgTarget) bare(ctx context.Context, name string) (_ bareClient, err error) {
	store, err := t.store(name)
	if err != nil {
		return nil, err
	}
	made, err := postgres.Open(ctx, store)
	if err != nil {
		return nil, err
	}
	if err := made.Close(ctx); err != nil {
		return nil, err
	}
	b := &barePostgres{empties: func(ctx context.Context) error { return t.empty(ctx, name) }}
	columns, values := make([]string, len(bareArrays)), make([]string, len(bareArrays))
	for i, c := range bareArrays {
		columns[i], values[i] = c[0], fmt.Sprintf("unnest($%d::%s[])", i+1, c[1])
	}
	b.insert = `INSERT INTO ` + t.table(name, "events") + ` (` + strings.Join(columns, ", ") + `) SELECT ` +
		strings.Join(values, ", ")
	b.move = `INSERT INTO ` + t.table(name, "positions") + ` (epoch, shard, position) VALUES (0, $1, $2)
		ON CONFLICT (epoch, shard) DO UPDATE SET position = excluded.position`
	b.lease = `INSERT INTO ` + t.table(name, "leases") + ` AS l (shard, term, process) VALUES ('shard', 1, $1)
		ON CONFLICT (shard) DO UPDATE SET term = l.term + 1, process = excluded.process`
	b.pool, err = connectPool(ctx, &store, bareConnections)
	return b, err
}

// writers: a transaction a shard, with as many under way as there are shards or
// connections.
func (b *barePostgres) writers(shards, batch int) (count, each int) {
	for count = min(shards, bareConnections); shards%count != 0; count-- {
	}
	return count, shards / count * batch
}

func (b *barePostgres) commit(ctx context.Context, writer, shards int, entries []gerritstream.Entry) error {
	now, last := time.Now(), &entries[len(entries)-1]
	number := b.numbers.Add(int64(len(entries))) - int64(len(entries))
	var ns, changes []int64
	var ids [][16]byte
	var shard, seqs, types, projects, refs []string
	var subs []int32
	var arrived, created, queued []time.Time
	var payloads [][]byte
	for i := range entries {
		e := &entries[i]
		ns, ids = append(ns, number+int64(i)+1), append(ids, e.ID)
		shard, seqs, subs = append(shard, string(e.Shard)), append(seqs, string(e.Seq)), append(subs, int32(e.Sub))
		types, projects = append(types, e.Event.Type), append(projects, e.Event.Project)
		refs, changes = append(refs, e.Event.Ref), append(changes, e.Event.Change)
		arrived, created = append(arrived, e.Arrived), append(created, e.Event.Created)
		queued, payloads = append(queued, now), append(payloads, e.Payload)
	}
	position := fmt.Sprintf(`{"after":%q,"arrived":%q,"term":1,"nonce":"0123456789abcdef01234567"}`,
		last.Seq, last.Arrived.Format(time.RFC3339Nano))
	batch := &pgx.Batch{}
	batch.Queue(`BEGIN`)
	for i := range shards {
		batch.Queue(b.move, string(shardNamed(writer*shards+i)), position)
	}
	batch.Queue(b.insert,
		ns, ids, shard, seqs, subs, arrived, types, projects, refs, changes, created, queued, payloads)
	batch.Queue(`COMMIT`)
	return b.pool.SendBatch(ctx, batch).Close()
}

func (b *barePostgres) empty(ctx context.Context) error { return b.empties(ctx) }

func (b *barePostgres) handOver(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for _, process := range []string{"", "next"} {
		if _, err := b.pool.Exec(ctx, b.lease, process); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

func (b *barePostgres) takeOver(context.Context) (time.Duration, error) {
	return postgres.DefaultLeaseTTL, nil
}

func (b *barePostgres) close() { b.pool.Close() }
