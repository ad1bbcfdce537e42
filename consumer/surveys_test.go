package consumer_test

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/storetest"
)

// requests counts the requests to a service, and how many of them it refused.
type requests struct {
	mu      sync.Mutex
	seen    map[string]int // under mu, by operation
	refused int            // under mu
	most    int            // under mu: descriptions within one second
	times   []time.Time    // under mu: of the descriptions
}

func (r *requests) watch(srv *kinesistest.Server) {
	r.seen = map[string]int{}
	srv.On(kinesistest.Hook{Do: kinesistest.Observe(func(q *kinesistest.Request, a *kinesistest.Reply) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen[q.Operation]++
		if a.Status != 200 {
			r.refused++
		}
		if q.Operation != "DescribeStreamSummary" {
			return
		}
		now := time.Now()
		r.times = append(r.times, now)
		within := 0
		for _, at := range r.times {
			if now.Sub(at) < time.Second {
				within++
			}
		}
		r.most = max(r.most, within)
	})})
}

// The first start on a stream of many shards: DescribeStreamSummary is limited
// to 20 a second for the whole account, and there is a term for each shard.
func TestAFirstStartDescribesTheStreamAFewTimes(t *testing.T) {
	const shards, processes, each = 64, 4, 8
	inCluster(t, 0, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelError
		srv := kinesistest.New(kinesistest.Options{})
		if _, err := srv.CreateStream(streamName, shards); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		var r requests
		r.watch(srv)
		for range processes {
			source := sourceOf(t, srv, kinesis.Config{PollInterval: slowPoll})
			cl.start(func(c *consumer.Config) { c.Source, c.StartAt = source, gs.StartingPosition{} })
		}
		time.Sleep(20 * time.Second) // less than it takes to list again
		for _, s := range shardIDs(shards) {
			if pos := cl.position(s); pos.From.Time.IsZero() && pos.After == "" {
				t.Errorf("%s has the position %+v", s, pos)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		t.Logf("%v, at most %d descriptions within a second, %d refused", r.seen, r.most, r.refused)
		if n := r.seen["DescribeStreamSummary"]; n > processes*each || r.most > 20 || r.refused > 0 {
			t.Errorf("%d descriptions, %d of them within a second, and %d requests refused; want at most %d, 20 and 0",
				n, r.most, r.refused, processes*each)
		}
	})
}

// The end of a closed shard whose children are listed is no reason to list
// again: a stream may keep hundreds of those.
func TestClosedShardsEndWithoutListings(t *testing.T) {
	const closed = 150
	inCluster(t, closed, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelError
		for _, s := range shardIDs(closed) {
			cl.stream.split(s)
		}
		time.Sleep(time.Hour)
		var lists atomic.Int64
		cl.stream.listErr = func() error { lists.Add(1); return nil }
		var chance atomic.Int64
		cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
			if w.Point == storetest.PointCampaign { // they end one after the other, for ten seconds
				time.Sleep(time.Duration(chance.Add(1)%100) * 100 * time.Millisecond)
			}
			return storetest.NoFault
		})
		cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(25 * time.Second) // less than it takes to list again
		for _, s := range shardIDs(closed) {
			if !cl.position(s).Ended {
				t.Errorf("%s has not ended", s)
			}
		}
		t.Logf("%d listings", lists.Load())
		if n := lists.Load(); n > 65 {
			t.Errorf("%d listings for %d shards that were closed long ago", n, closed)
		}
	})
}
