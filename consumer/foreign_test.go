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
func (h *house) lastOf(shard gs.ShardID) (seq gs.SequenceNumber) {
	h.stream.change(func() {
		records := h.stream.shards[shard].records
		seq = records[len(records)-1].Seq
	})
	return seq
}

// unread returns when, as far as all processes say together, the first record
// arrived that another program leaves unread, and how far the shard is behind.
func (h *house) unread(shard gs.ShardID) (since time.Time, behind time.Duration) {
	h.t.Helper()
	for _, p := range h.procs {
		if s := p.shardOf(h.t, shard); !s.Leader.Unread.IsZero() {
			since = s.Leader.Unread
		}
		behind = max(behind, p.shardOf(h.t, shard).Lag)
	}
	return since, behind
}

// A lock that nobody holds leads like any other. What tells is its checkpoint,
// which stands still while records arrive: a finding, from a minute or two on,
// until it moves. Where nothing arrives it is none, and a checkpoint that moves
// is not even read behind.
func TestAForeignLeaderThatStandsStillIsFound(t *testing.T) {
	for name, checkpoint := range map[string]bool{"with a checkpoint": true, "that has none": false} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, 1, func(t *testing.T, h *house) {
				h.level = slog.LevelInfo
				h.stream.put(s0, "good 1")
				time.Sleep(time.Minute)
				if checkpoint {
					h.memory.WriteCheckpoint(s0, h.lastOf(s0))
				}
				leave := h.memory.Foreign("zuul", s0)
				h.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
				h.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
				time.Sleep(10 * time.Minute)
				if since, behind := h.unread(s0); !since.IsZero() || behind != 0 {
					t.Errorf("nothing has arrived: unread since %v, %v behind", since, behind)
				}
				h.stream.put(s0, "good 2")
				arrived := time.Now()
				time.Sleep(3 * time.Minute)
				if since, behind := h.unread(s0); !since.Equal(arrived) || behind < 2*time.Minute {
					t.Errorf("unread since %v, %v behind, want since %v", since, behind, arrived)
				}
				if !foreignReported(h) || strings.Count(h.logs(), "foreign leader stalled while records arrive") != 1 {
					t.Errorf("it is not reported or logged:\n%s", h.logs())
				}
				if n := len(h.memory.Entries()); n != 0 {
					t.Errorf("%d entries were queued beside the leader", n)
				}
				h.memory.WriteCheckpoint(s0, h.lastOf(s0))
				time.Sleep(3 * time.Minute)
				if since, behind := h.unread(s0); !since.IsZero() || behind != 0 || foreignReported(h) {
					t.Errorf("after it has moved: unread since %v, %v behind", since, behind)
				}
				leave()
				time.Sleep(time.Minute)
				if since, behind := h.unread(s0); !since.IsZero() || behind != 0 {
					t.Errorf("after it has gone: unread since %v, %v behind", since, behind)
				}
			})
		})
	}
}

// foreignReported tells whether what the store shows of the processes' reports
// has such a finding.
func foreignReported(h *house) (found bool) {
	h.t.Helper()
	in, err := h.memory.Inspect()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, r := range in.Reports {
		for i := range r.Status.Shards {
			found = found || !r.Status.Shards[i].Leader.Unread.IsZero()
		}
	}
	return found
}

// logs returns what all processes have logged.
func (h *house) logs() string {
	var all strings.Builder
	for _, p := range h.procs {
		all.WriteString(p.log.String())
	}
	return all.String()
}

func TestAForeignLeaderThatMovesIsLeftAlone(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		reads := 0
		h.stream.onRead = func(gs.ShardID, gs.Position) { reads++ }
		h.memory.Foreign("zuul", s0)
		h.stream.put(s0, "good")
		h.memory.WriteCheckpoint(s0, h.lastOf(s0))
		h.start()
		for range 60 {
			h.stream.put(s0, "good")
			time.Sleep(20 * time.Second)
			h.memory.WriteCheckpoint(s0, h.lastOf(s0)) // late, and it moves
			if since, _ := h.unread(s0); !since.IsZero() {
				t.Fatalf("unread since %v", since)
			}
		}
		h.stream.change(func() {
			if reads != 0 {
				t.Errorf("the shard was read %d times", reads)
			}
		})
		time.Sleep(20 * time.Minute) // it stands still now, with nothing behind it
		h.stream.change(func() {
			if reads == 0 || reads > 21 {
				t.Errorf("the shard was read %d times in 20 minutes", reads)
			}
		})
	})
}

// overlap is a Source that takes long to read and counts how many readings of a
// shard are under way.
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

// A term that begins ends the read beside it: a shard is read once at a time.
func TestTheReadBehindAForeignLeaderEndsWithATerm(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		source := &overlap{stream: h.stream}
		h.stream.put(s0, "good 1", "good 2")
		h.memory.WriteCheckpoint(s0, h.lastOf(s0))
		leave := h.memory.Foreign("zuul", s0)
		h.start(func(c *consumer.Config) { c.Source = source })
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
		h.check()
	})
}
