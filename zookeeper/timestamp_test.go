package zookeeper_test

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// timestamps returns the timestamps of the queued events.
func (cl *cluster) timestamps() (stamps []time.Time) {
	cl.t.Helper()
	for _, name := range cl.children(cl.zuul("/events/queue")) {
		var n queueNode
		cl.decode(cl.get(cl.zuul("/events/queue/"+name)), &n)
		value := []byte(n.EventData)
		if n.Path != "" {
			value = cl.largeEvent(n.Path)
		}
		var e eventData
		cl.decode(value, &e)
		stamps = append(stamps, time.UnixMilli(int64(math.Round(e.Timestamp*1000))))
	}
	return stamps
}

// An event's timestamp is the time of its writing, however long ago it arrived:
// by the local clock, but never ahead of the service's, because Zuul waits
// until a timestamp has come.
func TestTimestampIsTheTimeOfWriting(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_500)
	for name, tc := range map[string]struct {
		local, service time.Time
		want           time.Time
	}{
		"clocks agree":           {now, now, now},
		"local clock ahead":      {now.Add(time.Hour), now, now},
		"local clock slow":       {now.Add(-time.Hour), now, now.Add(-time.Hour)},
		"service's is not known": {now, time.Time{}, now},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			term := elect(t, cl.open(zookeeper.Config{Now: func() time.Time { return tc.local }}), shardA)
			began := time.Now()
			backlog := step(shardA, 1, 2)
			backlog.Now = tc.service
			commit(t, term, backlog)
			largeEvents := large(3)
			largeEvents.Now = tc.service
			commit(t, term, largeEvents)
			took := time.Since(began)
			for i, got := range cl.timestamps() {
				if got.Before(tc.want) || got.After(tc.want.Add(took)) {
					t.Errorf("event %d has timestamp %s, want %s", i, got.UTC(), tc.want.UTC())
				}
			}
		})
	}
}

// A commit that is sent again has the time of the second copy.
func TestTimestampOfACommitSentAgain(t *testing.T) {
	for name, lose := range map[string]func(*peers.Link, func([]byte) bool) <-chan struct{}{
		"reply lost": (*peers.Link).LoseNextReply, "request lost": (*peers.Link).LoseNextRequest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			first := time.UnixMilli(1_800_000_000_000)
			var passed atomic.Int64
			now := func() time.Time { return first.Add(time.Duration(passed.Load())) }
			store, link := cl.linkedWith(zookeeper.Config{Now: now})
			term := elect(t, store, shardA)
			commit(t, term, gerritstream.Commit{Position: anchor()})
			position := request(opMulti, "/positions/")
			lost := lose(link, func(b []byte) bool {
				if !position(b) {
					return false
				}
				passed.Store(int64(7 * time.Second))
				return true
			})
			commit(t, term, step(shardA, 1, 1))
			receive(t, lost)
			want := first
			if name == "request lost" {
				want = first.Add(7 * time.Second)
			}
			if got := cl.timestamps(); len(got) != 1 || !got[0].Equal(want) {
				t.Errorf("timestamps %v, want %v", got, want)
			}
		})
	}
}

// A redriven event has its arrival as its timestamp: an operator's clock may be
// ahead, and Zuul need not wait for the event.
func TestTimestampOfARedrivenDeadLetter(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	d := deadLetter(shardA, 1)
	commit(t, elect(t, cl.open(zookeeper.Config{}), shardA), gerritstream.Commit{Position: after(1),
		DeadLetters: []gerritstream.DeadLetter{d}})
	o := cl.operator()
	defer func() { _ = o.Close(soon(t)) }()
	e := event(shardA, 1, 100)
	if err := o.RedriveDeadLetter(soon(t), e); err != nil {
		t.Fatal(err)
	}
	if got := cl.timestamps(); len(got) != 1 || !got[0].Equal(e.Arrived.Truncate(time.Millisecond)) {
		t.Errorf("timestamps %v, want %v", got, e.Arrived)
	}
}
