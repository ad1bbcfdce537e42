package postgres_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
)

// benchSchema opens a store in a schema of its own, and a connection to it.
func benchSchema(b *testing.B) (*postgres.Store, *pgx.Conn) {
	b.Helper()
	schema := fmt.Sprintf("Bench %d", schemas.Add(1))
	config, err := pgx.ParseConfig(serverURL(b))
	must(b, err)
	config.RuntimeParams["search_path"] = pgx.Identifier{schema}.Sanitize()
	raw, err := pgx.ConnectConfig(b.Context(), config)
	must(b, err)
	drop := `DROP SCHEMA IF EXISTS ` + pgx.Identifier{schema}.Sanitize() + ` CASCADE`
	_, err = raw.Exec(b.Context(), drop)
	must(b, err)
	store, err := postgres.Open(b.Context(), postgres.Config{URL: serverURL(b), Schema: schema})
	must(b, err)
	b.Cleanup(func() {
		ctx := context.WithoutCancel(b.Context())
		must(b, store.Close(ctx))
		_, err := raw.Exec(ctx, drop)
		must(b, err)
		must(b, raw.Close(ctx))
	})
	return store, raw
}

// fill queues n events of 2 KB that arrived an hour ago, as fast as the server
// makes them, and has it look at the table.
func fill(b *testing.B, raw *pgx.Conn, n int) {
	b.Helper()
	fillSince(b, raw, n, time.Hour)
}

// fillSince is fill with events of another age.
func fillSince(b *testing.B, raw *pgx.Conn, n int, age time.Duration) {
	b.Helper()
	for _, statement := range []string{
		fmt.Sprintf(`INSERT INTO events (n, id, shard, seq, sub, arrived, type, project, ref, queued_at, payload)
			SELECT h.n + i, gen_random_uuid(), 'shardId-' || i %% 8, i::text, -1, now() - interval '%[2]d seconds',
				CASE i %% 10 WHEN 0 THEN 'comment-added' ELSE 'ref-updated' END, 'project', 'refs/heads/main',
				now() - interval '%[2]d seconds', convert_to(repeat(md5(i::text), 60), 'UTF8')
			FROM head h, generate_series(1, %[1]d) i`, n, int(age/time.Second)),
		fmt.Sprintf(`UPDATE head SET n = n + %d`, n),
		`VACUUM (ANALYZE) events`,
		`CHECKPOINT`,
	} {
		_, err := raw.Exec(b.Context(), statement)
		must(b, err)
	}
}

// BenchmarkConsume reads 20,000 events of 2 KB, 100 at a time, and acknowledges
// each batch, in both orders.
func BenchmarkConsume(b *testing.B) {
	b.Run("order=queue", func(b *testing.B) { benchmarkConsume(b) })
	b.Run("order=arrival", func(b *testing.B) { benchmarkConsume(b, queue.ByArrival(0)) })
}

func benchmarkConsume(b *testing.B, options ...queue.Option) {
	store, raw := benchSchema(b)
	fill(b, raw, 20_000)
	must(b, store.Register(b.Context(), "a", queue.Filter{}, 0))
	n := 0
	b.ResetTimer()
	for b.Loop() {
		must(b, store.Seek(b.Context(), "a", 0))
		c, err := queue.Open(b.Context(), store, "a", options...)
		must(b, err)
		for {
			events, err := c.Poll(b.Context(), 100)
			must(b, err)
			if len(events) == 0 {
				break
			}
			must(b, c.Ack(b.Context(), events[len(events)-1].Number))
			n += len(events)
		}
		must(b, c.Close(b.Context()))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRead reads 20,000 events of 2 KB as a consumer, by pages.
func BenchmarkRead(b *testing.B) {
	store, raw := benchSchema(b)
	fill(b, raw, 20_000)
	n := 0
	b.ResetTimer()
	for b.Loop() {
		for after := int64(0); ; {
			events, err := store.Read(b.Context(), "a", after, 500)
			must(b, err)
			if len(events) == 0 {
				break
			}
			n, after = n+len(events), events[len(events)-1].Number
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkConsumers lists 1,000 consumers of a queue of a million events: near
// its end, in its middle, and with filters.
func BenchmarkConsumers(b *testing.B) {
	store, raw := benchSchema(b)
	const events, consumers = 1_000_000, 1000
	fill(b, raw, events)
	for _, where := range []string{"end", "middle", "filtered"} {
		b.Run("at="+where, func(b *testing.B) {
			_, err := raw.Exec(b.Context(), `DELETE FROM consumers`)
			must(b, err)
			for i := range consumers {
				place, f := events-int64(i), queue.Filter{}
				switch where {
				case "middle":
					place = events / consumers * int64(i)
				case "filtered":
					place, f = events-100*int64(i), queue.Filter{Types: []string{"comment-*"}}
				}
				must(b, store.Register(b.Context(), fmt.Sprint("c", i), f, place))
			}
			b.ResetTimer()
			for b.Loop() {
				infos, err := store.Consumers(b.Context())
				must(b, err)
				if len(infos) != consumers || infos[consumers-1].Pending == 0 {
					b.Fatalf("%d consumers, %+v", len(infos), infos[consumers-1])
				}
			}
		})
	}
}

var beyond = flag.Int("retention.beyond", 0, "BenchmarkRetention: how many events the table holds besides "+
	"those that expire")

// BenchmarkRetention removes a million events of 2 KB while a shard commits
// 100 at a time, and measures these commits, before and meanwhile. Run it with
// -benchtime 1x.
func BenchmarkRetention(b *testing.B) {
	store, raw := benchSchema(b)
	const events = 1_000_000
	fill(b, raw, events)
	if *beyond > 0 {
		fillSince(b, raw, *beyond, time.Minute)
	}
	must(b, store.Register(b.Context(), "a", queue.Filter{}, events))
	term := elect(b, store, shardA)
	next := 0
	commits := func(until func(i int) bool) (times []time.Duration) {
		for i := 0; !until(i); i++ {
			c := gerritstream.Commit{Position: position(gerritstream.SequenceNumber(strconv.Itoa(next + 1)))}
			for range 100 {
				next++
				e := entry(shardA, gerritstream.SequenceNumber(strconv.Itoa(next)), 2048)
				e.Arrived = time.Now()
				c.Entries = append(c.Entries, e)
			}
			began := time.Now()
			must(b, term.Commit(b.Context(), c))
			times = append(times, time.Since(began))
			<-time.After(5 * time.Millisecond)
		}
		return times
	}
	report := func(what string, times []time.Duration) {
		slices.Sort(times)
		for name, d := range map[string]time.Duration{
			"p50": times[len(times)/2], "p99": times[len(times)*99/100], "max": times[len(times)-1],
		} {
			b.ReportMetric(float64(d.Microseconds())/1000, what+"-"+name+"-ms")
		}
	}
	b.ResetTimer()
	for b.Loop() {
		report("before", commits(func(i int) bool { return i == 500 }))
		swept := make(chan struct{})
		var removed int64
		began := time.Now()
		go func() {
			defer close(swept)
			var err error
			cut := time.Now().Add(-30 * time.Minute)
			if removed, _, err = store.Sweep(cut, cut); err != nil {
				b.Error(err)
			}
		}()
		report("meanwhile", commits(func(int) bool {
			select {
			case <-swept:
				return true
			default:
				return false
			}
		}))
		b.ReportMetric(float64(removed)/time.Since(began).Seconds(), "removed/s")
	}
}
