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

// timestamps returns the timestamps of the events that are queued.
func (w *world) timestamps() (stamps []time.Time) {
	w.t.Helper()
	for _, name := range w.children(w.zuul("/events/queue")) {
		var n queueNode
		w.decode(w.get(w.zuul("/events/queue/"+name)), &n)
		value := []byte(n.EventData)
		if n.Path != "" {
			value = w.sideData(n.Path)
		}
		var e eventData
		w.decode(value, &e)
		stamps = append(stamps, time.UnixMilli(int64(math.Round(e.Timestamp*1000))))
	}
	return stamps
}

// An event's timestamp is the time of its writing, however long ago it arrived:
// by the local clock, but never ahead of the service's. Zuul counts from it,
// and waits for one that has not come.
func TestTimestampIsTheTimeOfWriting(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_500)
	for name, tc := range map[string]struct {
		local, service time.Time
		want           time.Time
	}{
		"clocks agree":           {now, now, now},
		"local clock ahead":      {now.Add(time.Hour), now, now},
		"local clock behind":     {now.Add(-time.Hour), now, now.Add(-time.Hour)},
		"service's is not known": {now, time.Time{}, now},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, single)
			term := elect(t, w.open(zookeeper.Config{Now: func() time.Time { return tc.local }}), shardA)
			began := time.Now()
			backlog := step(shardA, 1, 2)
			backlog.Now = tc.service
			commit(t, term, backlog)
			side := large(3)
			side.Now = tc.service
			commit(t, term, side)
			took := time.Since(began)
			for i, got := range w.timestamps() {
				if got.Before(tc.want) || got.After(tc.want.Add(took)) {
					t.Errorf("event %d has timestamp %s, want %s", i, got.UTC(), tc.want.UTC())
				}
			}
		})
	}
}

// A commit that has to be sent again says when that was. The clock goes on when
// the first copy is lost.
func TestTimestampOfACommitSentAgain(t *testing.T) {
	for name, lose := range map[string]func(*peers.Link, func([]byte) bool) <-chan struct{}{
		"reply lost": (*peers.Link).LoseNextReply, "request lost": (*peers.Link).LoseNextRequest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, single)
			first := time.UnixMilli(1_800_000_000_000)
			var passed atomic.Int64
			store, link := w.linkedWith(zookeeper.Config{Now: func() time.Time { return first.Add(time.Duration(passed.Load())) }})
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
			if got := w.timestamps(); len(got) != 1 || !got[0].Equal(want) {
				t.Errorf("timestamps %v, want %v", got, want)
			}
		})
	}
}

// A dead letter that is queued after all has its arrival for a timestamp: an
// operator's clock may be ahead, and nothing waits for it.
func TestTimestampOfARetriedLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, single)
	d := letter(shardA, 1)
	commit(t, elect(t, w.open(zookeeper.Config{}), shardA), gerritstream.Commit{Position: after(1), DeadLetters: []gerritstream.DeadLetter{d}})
	o := w.operator()
	defer func() { _ = o.Close(soon(t)) }()
	e := event(shardA, 1, 100)
	if err := o.RedriveDeadLetter(soon(t), e); err != nil {
		t.Fatal(err)
	}
	if got := w.timestamps(); len(got) != 1 || !got[0].Equal(e.Arrived.Truncate(time.Millisecond)) {
		t.Errorf("timestamps %v, want %v", got, e.Arrived)
	}
}
