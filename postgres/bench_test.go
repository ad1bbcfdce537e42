package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/postgres"
)

const (
	benchShards = 8
	benchBatch  = 500
	benchBytes  = 2500 // of an event, about as Gerrit's are
)

// benchPayload is like an event: text that compresses by a half or so.
func benchPayload(i int) []byte {
	var b bytes.Buffer
	for n := 0; b.Len() < benchBytes; n++ {
		fmt.Fprintf(&b, `{"project":"platform/%d","ref":"refs/changes/%d/%d","revision":"%x"},`, i%97, i, n,
			uint64(i*7919+n)*0x9E3779B97F4A7C15)
	}
	return b.Bytes()[:benchBytes]
}

// newBench returns a schema on a server that waits for its disk.
func newBench(b *testing.B) *shared {
	server := peers.StartPostgreSQL(b, peers.PostgreSQLOptions{Settings: map[string]string{
		"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min"}})
	url := server.URL("postgres")
	s := newSharedAt(b, url, url)
	s.openAndClose()
	return s
}

// benchEntries returns the n-th batch of a shard.
func benchEntries(shard gerritstream.ShardID, n, size int) []gerritstream.Entry {
	entries := make([]gerritstream.Entry, size)
	for i := range entries {
		at := n*benchBatch + i
		seq := gerritstream.SequenceNumber(fmt.Sprintf("49590338271490256608559692538361571095921575%012d", at))
		entries[i] = gerritstream.Entry{
			ID:    gerritstream.NewEventID(gerritstream.Stream{ARN: "arn"}, shard, seq, gerritstream.NoSub),
			Shard: shard, Seq: seq, Sub: gerritstream.NoSub, Arrived: time.Now(), Payload: benchPayload(at),
			Event: gerritstream.Event{
				Type: "ref-updated", Project: "platform/build", Ref: "refs/heads/main", Change: int64(i),
			},
		}
	}
	return entries
}

// benchBacklog has eight shards write b.N events in batches of 500.
func benchBacklog(b *testing.B, write func(shard gerritstream.ShardID, n int, entries []gerritstream.Entry)) {
	b.SetBytes(benchBytes)
	b.ResetTimer()
	var writing sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	for i := range benchShards {
		shard := gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i))
		writing.Go(func() {
			for n := 0; ; n++ {
				size := min(benchBatch, int(left.Add(-benchBatch))+benchBatch)
				if size <= 0 {
					return
				}
				write(shard, n, benchEntries(shard, n, size))
			}
		})
	}
	writing.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkBacklog is a backlog of b.N events over eight shards of one process.
func BenchmarkBacklog(b *testing.B) {
	s := newBench(b)
	store := s.openWith(postgres.Config{LeaseTTL: 10 * time.Minute})
	terms := map[gerritstream.ShardID]gerritstream.Term{}
	for i := range benchShards {
		shard := gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i))
		terms[shard] = elect(b, store, shard)
	}
	benchBacklog(b, func(shard gerritstream.ShardID, n int, entries []gerritstream.Entry) {
		c := gerritstream.Commit{Position: position(gerritstream.SequenceNumber(fmt.Sprint(n + 1))), Entries: entries}
		if err := terms[shard].Commit(context.Background(), c); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkBare writes the same rows and the same positions with the library
// alone: no fence, and numbers from a sequence.
func BenchmarkBare(b *testing.B) {
	for _, how := range []string{"unnest", "copy"} {
		b.Run(how, func(b *testing.B) {
			s := newBench(b)
			s.exec(`CREATE SEQUENCE numbers CACHE 500`)
			s.exec(`ALTER TABLE events ALTER n SET DEFAULT nextval('numbers')`)
			config := s.raw.Config()
			config.MaxConns = benchShards
			pool, err := pgxpool.NewWithConfig(context.Background(), config)
			must(b, err)
			defer pool.Close()
			benchBacklog(b, func(shard gerritstream.ShardID, n int, entries []gerritstream.Entry) {
				must(b, bare(pool, how, shard, n, entries))
			})
		})
	}
}

var bareColumns = []string{
	"id", "shard", "seq", "sub", "arrived", "type", "project", "ref", "change", "queued_at", "payload",
}

// bareUnnest inserts rows from one array a column.
var bareUnnest = func() string {
	types := []string{
		"uuid", "text", "text", "int", "timestamptz", "text", "text", "text", "bigint", "timestamptz", "bytea",
	}
	for i := range types {
		types[i] = fmt.Sprintf("unnest($%d::%s[])", i+1, types[i])
	}
	return `INSERT INTO events (` + strings.Join(bareColumns, ", ") + `) SELECT ` + strings.Join(types, ", ")
}()

const barePosition = `INSERT INTO positions (epoch, shard, position) VALUES (0, $1, $2)
	ON CONFLICT (epoch, shard) DO UPDATE SET position = excluded.position`

func bare(pool *pgxpool.Pool, how string, shard gerritstream.ShardID, n int, entries []gerritstream.Entry) error {
	ctx := context.Background()
	if how == "unnest" {
		columns := make([]any, len(bareColumns))
		var ids [][16]byte
		var shards, seqs, types, projects, refs []string
		var subs []int32
		var at []time.Time
		var changes []int64
		var payloads [][]byte
		for _, e := range entries {
			ids, shards, seqs = append(ids, e.ID), append(shards, string(e.Shard)), append(seqs, string(e.Seq))
			subs, at, types = append(subs, int32(e.Sub)), append(at, e.Arrived), append(types, e.Event.Type)
			projects, refs = append(projects, e.Event.Project), append(refs, e.Event.Ref)
			changes, payloads = append(changes, e.Event.Change), append(payloads, e.Payload)
		}
		copy(columns, []any{ids, shards, seqs, subs, at, types, projects, refs, changes, at, payloads})
		b := &pgx.Batch{}
		b.Queue(`BEGIN`)
		b.Queue(bareUnnest, columns...)
		b.Queue(barePosition, string(shard), fmt.Sprint(n))
		b.Queue(`COMMIT`)
		return pool.SendBatch(ctx, b).Close()
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	rows := pgx.CopyFromSlice(len(entries), func(i int) ([]any, error) {
		e := &entries[i]
		return []any{[16]byte(e.ID), string(e.Shard), string(e.Seq), e.Sub, e.Arrived, e.Event.Type, e.Event.Project,
			e.Event.Ref, e.Event.Change, e.Arrived, e.Payload}, nil
	})
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"events"}, bareColumns, rows)
	if err == nil {
		_, err = tx.Exec(ctx, barePosition, string(shard), fmt.Sprint(n))
	}
	if err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// BenchmarkCommitOfOne is the latency of a commit of one event, alone.
func BenchmarkCommitOfOne(b *testing.B) {
	s := newBench(b)
	term := elect(b, s.openWith(postgres.Config{LeaseTTL: 10 * time.Minute}), shardA)
	n := 0
	for b.Loop() {
		n++
		entries := benchEntries(shardA, n, 1)
		must(b, term.Commit(context.Background(), commitOf(gerritstream.SequenceNumber(fmt.Sprint(n)), entries...)))
	}
}

// BenchmarkIdle is what 64 idle shards of two processes cost the server, with
// and without notifications, and through PgBouncer: statements a second, over
// ten seconds.
func BenchmarkIdle(b *testing.B) {
	for _, how := range []string{"direct", "poll-only", "pgbouncer"} {
		b.Run(how, func(b *testing.B) {
			server := peers.StartPostgreSQL(b, peers.PostgreSQLOptions{Settings: map[string]string{
				"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_utility": "on"}})
			url := server.URL("postgres")
			s := newSharedAt(b, url, url)
			if how == "pgbouncer" {
				s.url = peers.StartPgBouncer(b, server.Addr()).URL("postgres")
			}
			server.SQL(b, "postgres", `CREATE EXTENSION pg_stat_statements`)
			config := postgres.Config{PollOnly: how == "poll-only", LeaseTTL: postgres.DefaultLeaseTTL}
			for _, store := range []*postgres.Store{s.openWith(config), s.openWith(config)} {
				info := gerritstream.MemberInfo{Host: store.ID(), Readable: true}
				must(b, store.Advertise(context.Background(), info))
				var shards []gerritstream.ShardID
				for i := range 32 {
					shard := gerritstream.ShardID(fmt.Sprintf("%s-%d", store.ID(), i))
					elect(b, store, shard)
					shards = append(shards, shard)
				}
				go func() { // as a process does that follows its group
					for {
						seen, err := store.GroupState(context.Background(), shards)
						if err != nil {
							return
						}
						if _, err := store.WaitGroupChange(context.Background(), seen); err != nil {
							return
						}
					}
				}()
			}
			<-time.After(3 * time.Second)
			const over = 10 * time.Second
			server.SQL(b, "postgres", `SELECT pg_stat_statements_reset()`)
			<-time.After(over)
			statements := server.SQL(b, "postgres", `SELECT sum(calls) FROM pg_stat_statements
				WHERE query NOT LIKE '%pg_stat_statements%'`)
			var n float64
			fmt.Sscan(statements, &n)
			b.ReportMetric(n/over.Seconds(), "statements/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkHandover is from a resignation to the election of who waits, with
// and without notifications.
func BenchmarkHandover(b *testing.B) {
	for _, pollOnly := range []bool{false, true} {
		b.Run(fmt.Sprintf("poll-only=%v", pollOnly), func(b *testing.B) {
			s := newBench(b)
			config := postgres.Config{PollOnly: pollOnly, LeaseTTL: postgres.DefaultLeaseTTL}
			stores := []*postgres.Store{s.openWith(config), s.openWith(config)}
			term := elect(b, stores[0], shardA)
			var took []time.Duration
			for n := 1; b.Loop(); n++ {
				b.StopTimer()
				won := make(chan gerritstream.Term, 1)
				store := stores[n%2]
				go func() {
					t, err := store.Campaign(context.Background(), 0, shardA)
					if err != nil {
						b.Error(err)
					}
					won <- t
				}()
				for s.count(`SELECT count(*) FROM candidates`) == 0 {
					<-time.After(time.Millisecond)
				}
				<-time.After(time.Duration(n*37%100) * time.Millisecond) // at any moment between two looks
				b.StartTimer()
				began := time.Now()
				must(b, term.Resign(context.Background()))
				term = <-won
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
