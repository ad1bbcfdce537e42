package sqlite_test

import (
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

// However many jobs wait, a heartbeat is part of the next transaction: behind
// all of them it would come too late to keep the leaderships.
func TestAHeartbeatGoesBeforeAllJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := s.open()
		term := elect(t, store, shardA)
		// Three times as long as a heartbeat is trusted. A transaction takes a
		// quarter of a second. A heartbeat waits for the one that has begun,
		// and is part of the next; the one after it misses the transaction
		// that begins as it returns. So four pass from the beginning of the
		// first heartbeat until the second has succeeded.
		const jobs, rows, each = 800, 500, 15 * time.Millisecond
		began := time.Now()
		var waiting sync.WaitGroup
		for range jobs {
			waiting.Go(func() { must(t, store.DoRows(t.Context(), rows, func() { time.Sleep(each) })) })
		}
		waiting.Wait()
		if took := time.Since(began); took < jobs*each {
			t.Fatalf("the jobs took %v: that is no load", took)
		}
		must(t, term.Commit(t.Context(), commitOf("1")))
	})
}

// SQLite writes a row as a whole: a heartbeat must not be in the row of a
// report, which grows with the number of shards.
func TestAHeartbeatIsSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := s.open()
		must(t, store.Advertise(t.Context(), gerritstream.MemberInfo{Version: strings.Repeat("large ", 1<<18)}))
		must(t, store.Report(t.Context(), gerritstream.Status{Trouble: strings.Repeat("large ", 1<<18)}))
		before := walBytes(t, s)
		const heartbeats, most = 20, 64 << 10
		for range heartbeats {
			must(t, store.Renew())
		}
		if grown := walBytes(t, s) - before; grown > heartbeats*most {
			t.Errorf("%d bytes for a heartbeat, want at most %d", grown/heartbeats, most)
		}
	})
}

// walBytes returns how long the write-ahead log is.
func walBytes(t *testing.T, s *shared) int64 {
	t.Helper()
	info, err := os.Stat(s.path + "-wal")
	must(t, err)
	return info.Size()
}
