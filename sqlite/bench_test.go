package sqlite_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
)

// BenchmarkCommit commits 100 events of 2 KB at a time, durably.
func BenchmarkCommit(b *testing.B) {
	for _, shards := range []int{1, 8} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) { benchmarkCommit(b, shards) })
	}
}

func benchmarkCommit(b *testing.B, shards int) {
	store, err := sqlite.Open(b.Context(), sqlite.Config{Path: b.TempDir() + "/store.db"})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close(b.Context())
	terms := make([]gerritstream.Term, shards)
	for i := range terms {
		if terms[i], err = store.Campaign(b.Context(), 0,
			gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i))); err != nil {
			b.Fatal(err)
		}
	}
	const each = 100
	n := 0
	b.ResetTimer()
	for b.Loop() {
		var wg sync.WaitGroup
		for i, term := range terms {
			c := gerritstream.Commit{Position: position(gerritstream.SequenceNumber(strconv.Itoa(n + each)))}
			for k := range each {
				seq := gerritstream.SequenceNumber(strconv.Itoa(n + k))
				c.Entries = append(c.Entries, entry(gerritstream.ShardID(strconv.Itoa(i)), seq, 2048))
			}
			wg.Go(func() {
				if err := term.Commit(b.Context(), c); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		n += each
	}
	b.ReportMetric(float64(n*shards)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRead reads 5,000 events of 2 KB as a consumer, by pages, with and
// without events appended for it.
func BenchmarkRead(b *testing.B) {
	for _, additions := range []int{0, 500} {
		b.Run(fmt.Sprintf("additions=%d", additions), func(b *testing.B) { benchmarkRead(b, additions) })
	}
}

func benchmarkRead(b *testing.B, additions int) {
	store, err := sqlite.Open(b.Context(), sqlite.Config{Path: b.TempDir() + "/store.db"})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close(b.Context())
	term, err := store.Campaign(b.Context(), 0, "shardId-000000000000")
	if err != nil {
		b.Fatal(err)
	}
	const held, page = 5000, 500
	fill := func(n int) (entries []gerritstream.Entry) {
		for range page {
			n++
			entries = append(entries, entry("shardId-000000000000", gerritstream.SequenceNumber(strconv.Itoa(n)), 2048))
		}
		return entries
	}
	for n := 0; n < held; n += page {
		must(b, term.Commit(b.Context(), gerritstream.Commit{Position: position("1"), Entries: fill(n)}))
	}
	must(b, store.Register(b.Context(), "a", queue.Filter{}, 0))
	for n := 0; n < additions; n += page {
		if _, err := store.Append(b.Context(), "a", fill(held+n)); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	b.ResetTimer()
	for b.Loop() {
		for after := int64(0); ; {
			events, err := store.Read(b.Context(), "a", after, page)
			must(b, err)
			if len(events) == 0 {
				break
			}
			n, after = n+len(events), events[len(events)-1].Number
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkConsume reads 20,000 events of 2 KB of four shards, 100 at a time,
// and acknowledges each batch, in both orders. A shard's events come 500 at a
// time, so that by arrival they have to be sorted.
func BenchmarkConsume(b *testing.B) {
	b.Run("order=queue", func(b *testing.B) { benchmarkConsume(b) })
	b.Run("order=arrival", func(b *testing.B) { benchmarkConsume(b, queue.ByArrival(0)) })
}

func benchmarkConsume(b *testing.B, options ...queue.Option) {
	store, err := sqlite.Open(b.Context(), sqlite.Config{Path: b.TempDir() + "/store.db"})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close(b.Context())
	const held, page, shards = 20_000, 500, 4
	began := time.Now().Add(-time.Hour)
	for n := 0; n < held; n += page {
		shard := gerritstream.ShardID(fmt.Sprintf("shardId-%012d", n/page%shards))
		term, err := store.Campaign(b.Context(), 0, shard)
		must(b, err)
		c := gerritstream.Commit{Position: position("1")}
		for i := range page {
			e := entry(shard, gerritstream.SequenceNumber(strconv.Itoa(n+i)), 2048)
			e.Arrived = began.Add(time.Duration(n/page/shards*page+i) * time.Millisecond)
			c.Entries = append(c.Entries, e)
		}
		must(b, term.Commit(b.Context(), c))
		must(b, term.Resign(b.Context()))
	}
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
