package consumer_test

import (
	"context"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
)

// lastOf returns the sequence number of the last record put on a shard.
func (cl *cluster) lastOf(shard gs.ShardID) (seq gs.SequenceNumber) {
	cl.stream.change(func() {
		records := cl.stream.shards[shard].records
		seq = records[len(records)-1].Seq
	})
	return seq
}

// unread returns when, by the reports of all processes, the first record
// arrived that a foreign leader leaves unread, and how much the shard lags.
func (cl *cluster) unread(shard gs.ShardID) (since time.Time, behind time.Duration) {
	cl.t.Helper()
	for _, p := range cl.processes {
		if s := p.shardOf(cl.t, shard); !s.Leader.Unread.IsZero() {
			since = s.Leader.Unread
		}
		behind = max(behind, p.shardOf(cl.t, shard).Lag)
	}
	return since, behind
}

// A lock that nobody holds leads like any other. It shows in its checkpoint,
// which stays while records arrive: a finding, after a minute or two, until it
// moves. There is none where nothing arrives, and a shard whose checkpoint
// moves is not even read.
func TestAStalledForeignLeaderIsFound(t *testing.T) {
	for name, checkpoint := range map[string]bool{"with a checkpoint": true, "that has none": false} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				cl.stream.put(s0, "good 1")
				time.Sleep(time.Minute)
				if checkpoint {
					cl.memory.WriteCheckpoint(s0, cl.lastOf(s0))
				}
				leave := cl.memory.Foreign("zuul", s0)
				cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
				cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
				time.Sleep(10 * time.Minute)
				if since, behind := cl.unread(s0); !since.IsZero() || behind != 0 {
					t.Errorf("nothing has arrived: unread since %v, lagging by %v", since, behind)
				}
				cl.stream.put(s0, "good 2")
				arrived := time.Now()
				time.Sleep(3 * time.Minute)
				if since, behind := cl.unread(s0); !since.Equal(arrived) || behind < 2*time.Minute {
					t.Errorf("unread since %v, lagging by %v, want since %v", since, behind, arrived)
				}
				if !foreignReported(cl) || strings.Count(cl.logs(),
					"foreign leader stalled while records arrive") != 1 {
					t.Errorf("it is not reported or logged:\n%s", cl.logs())
				}
				if n := len(cl.memory.Entries()); n != 0 {
					t.Errorf("%d entries were queued beside the leader", n)
				}
				cl.memory.WriteCheckpoint(s0, cl.lastOf(s0))
				time.Sleep(3 * time.Minute)
				if since, behind := cl.unread(s0); !since.IsZero() || behind != 0 || foreignReported(cl) {
					t.Errorf("after it has moved: unread since %v, lagging by %v", since, behind)
				}
				leave()
				time.Sleep(time.Minute)
				if since, behind := cl.unread(s0); !since.IsZero() || behind != 0 {
					t.Errorf("after it has gone: unread since %v, lagging by %v", since, behind)
				}
			})
		})
	}
}

// foreignReported reports whether the reports in the store have such a finding.
func foreignReported(cl *cluster) (found bool) {
	cl.t.Helper()
	in, err := cl.memory.Inspect()
	if err != nil {
		cl.t.Fatal(err)
	}
	for _, r := range in.Reports {
		for i := range r.Status.Shards {
			found = found || !r.Status.Shards[i].Leader.Unread.IsZero()
		}
	}
	return found
}

// logs returns what all processes have logged.
func (cl *cluster) logs() string {
	var all strings.Builder
	for _, p := range cl.processes {
		all.WriteString(p.log.String())
	}
	return all.String()
}

func TestAForeignLeaderThatReadsIsLeftAlone(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		reads := 0
		cl.stream.onRead = func(gs.ShardID, gs.Position) { reads++ }
		cl.memory.Foreign("zuul", s0)
		cl.stream.put(s0, "good")
		cl.memory.WriteCheckpoint(s0, cl.lastOf(s0))
		cl.start()
		for range 60 {
			cl.stream.put(s0, "good")
			time.Sleep(20 * time.Second)
			cl.memory.WriteCheckpoint(s0, cl.lastOf(s0)) // late, and it moves
			if since, _ := cl.unread(s0); !since.IsZero() {
				t.Fatalf("unread since %v", since)
			}
		}
		cl.stream.change(func() {
			if reads != 0 {
				t.Errorf("the shard was read %d times", reads)
			}
		})
		time.Sleep(20 * time.Minute) // it stays, and there is nothing after it
		cl.stream.change(func() {
			if reads == 0 || reads > 21 {
				t.Errorf("the shard was read %d times in 20 minutes", reads)
			}
		})
	})
}

// overlap is a Source that takes long to read, and counts how many reads of a
// shard are in progress.
type overlap struct {
	*stream
	mu        sync.Mutex
	now, most int // under mu
}

func (o *overlap) Read(ctx context.Context, shard gs.ShardID, from gs.Position) iter.Seq2[gs.Page, error] {
	return func(yield func(gs.Page, error) bool) {
		o.mu.Lock()
		o.now++
		o.most = max(o.most, o.now)
		o.mu.Unlock()
		defer func() {
			o.mu.Lock()
			o.now--
			o.mu.Unlock()
		}()
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
		}
		for b, err := range o.stream.Read(ctx, shard, from) {
			if !yield(b, err) {
				return
			}
		}
	}
}

func (o *overlap) Peek(ctx context.Context, shard gs.ShardID, from gs.Position) iter.Seq2[gs.Page, error] {
	return o.Read(ctx, shard, from)
}

// A term that begins ends the side read of its shard: a shard is read once at a
// time.
func TestTheReadPastAForeignCheckpointEndsWithATerm(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		source := &overlap{stream: cl.stream}
		cl.stream.put(s0, "good 1", "good 2")
		cl.memory.WriteCheckpoint(s0, cl.lastOf(s0))
		leave := cl.memory.Foreign("zuul", s0)
		cl.start(func(c *consumer.Config) { c.Source = source })
		under := func() bool {
			source.mu.Lock()
			defer source.mu.Unlock()
			return source.now > 0
		}
		for !under() {
			time.Sleep(100 * time.Millisecond)
		}
		leave()
		time.Sleep(time.Minute)
		source.mu.Lock()
		defer source.mu.Unlock()
		if source.most != 1 {
			t.Errorf("%d readings of one shard at once", source.most)
		}
		cl.check()
	})
}
