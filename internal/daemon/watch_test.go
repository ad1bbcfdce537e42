package daemon

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// watchedStream is a stream in an embedded Kinesis, and how to watch it.
func watchedStream(t *testing.T, shards int) (*kinesistest.Server, *config.Config) {
	t.Helper()
	srv := kinesistest.New(kinesistest.Options{ScanSpan: time.Minute})
	if _, err := srv.CreateStream("gerrit", shards); err != nil {
		t.Fatal(err)
	}
	c := config.Defaults()
	c.Kinesis.Stream, c.Kinesis.Region = "gerrit", "us-east-1"
	c.Kinesis.Transport, c.Kinesis.Isolated = srv.Transport(), true
	return srv, &c
}

func put(t *testing.T, srv *kinesistest.Server, count int, data string) {
	t.Helper()
	for i := range count {
		if _, _, err := srv.Put("gerrit", fmt.Sprint("key ", i), []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
}

// A shard is read once a second at most, whether it lags or not, and shards
// that come of a split are read as well.
func TestWatchReadsOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := watchedStream(t, 1)
		time.Sleep(10 * time.Minute) // a reader lags until it has walked through that
		put(t, srv, 25, merged)
		var mu sync.Mutex
		last := map[string]time.Time{}
		srv.On(kinesistest.Hook{Operation: "GetRecords", Do: kinesistest.Observe(func(r *kinesistest.Request,
			_ *kinesistest.Reply,
		) {
			mu.Lock()
			defer mu.Unlock()
			if since := time.Since(last[r.Shard]); since < watchPace {
				t.Errorf("%s is read again after %v", r.Shard, since)
			}
			last[r.Shard] = time.Now()
		})})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		count := 0
		for w, err := range Watch(ctx, WatchOptions{Config: c, Since: time.Now().Add(-time.Hour)}) {
			if err != nil {
				t.Fatal(err)
			}
			if w.Verdict.Bad+w.Verdict.Filter != "" || w.Entry.Event.Type != "change-merged" {
				t.Fatalf("%+v", w.Verdict)
			}
			if count++; count == 25 {
				time.AfterFunc(5*time.Second, func() {
					if _, _, err := srv.Split("gerrit", "shardId-000000000000"); err != nil {
						t.Error(err)
					}
					put(t, srv, 8, merged)
				})
			}
			if count == 33 {
				break
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if count != 33 || len(last) != 3 {
			t.Errorf("%d records of %d shards came", count, len(last))
		}
	})
}
