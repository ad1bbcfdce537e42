package sqlite_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/gerritstream/gerritstream"
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
