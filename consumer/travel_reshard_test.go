package consumer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// generations reshards twice, with records on each shard before, between and
// after: a split of a split, and a merge of merges. It waits before each of the
// reshardings.
func (w *travel) generations(waits time.Duration) {
	w.putAll("of the first")
	time.Sleep(waits)
	w.putAll("last of the first")
	first := shardIDs(5)
	a, _ := w.split(first[0])
	b, c := w.merge(first[1], first[2]), w.merge(first[3], first[4])
	w.putAll("of the second")
	time.Sleep(waits)
	w.putAll("last of the second")
	w.split(a)
	w.merge(b, c)
	w.putAll("of the third")
}

// All processes were down while shards split and merged, and their children
// again. Every record comes once, parents before children, across both
// generations; also when the retention has meanwhile passed the first one, or
// both: then what was trimmed is reported, and all that is kept comes.
func TestDownForTwoGenerationsOfResharding(t *testing.T) {
	const retention = 24 * time.Hour
	for _, tt := range []struct {
		name         string
		waits, after time.Duration // before each resharding, and after the last
		gone         int           // shards that are not listed any more
	}{
		{"within the retention", 2 * time.Hour, time.Hour, 0},
		{"the retention has passed the grandparents", 10 * time.Hour, 15 * time.Hour, 5},
		{"the retention has passed the grandparents and the parents", 2 * time.Hour, 24 * time.Hour, 5 + 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTravel(t, kinesistest.Options{ScanSpan: 2 * time.Hour}, 5, func(t *testing.T, w *travel) {
				w.poll = 5 * time.Second
				for range 2 {
					w.start()
				}
				w.putAll("before")
				time.Sleep(2 * time.Minute)
				for _, p := range w.procs {
					p.end()
				}
				w.check(kept)
				w.generations(tt.waits)
				time.Sleep(tt.after + 30*time.Minute)
				w.putAll("last")
				time.Sleep(30 * time.Minute)
				listed, err := w.srv.Shards(streamName)
				w.must(err)
				if want := 5 + 4 + 3 - tt.gone; len(listed) != want {
					t.Fatalf("%d shards are listed, want %d", len(listed), want)
				}
				back := time.Now()
				for range 2 {
					w.start()
				}
				time.Sleep(3 * time.Minute)
				w.putAll("after")
				time.Sleep(time.Minute)

				w.check(func(s sent) bool { return s.data != "good before" && s.at.Before(back.Add(-retention)) })
				if n := len(w.reported()); tt.gone == 0 && n > 0 || tt.gone > 0 && n < 5 {
					t.Errorf("reported as lost: %+v", w.reported())
				}
				for shard := range w.closed() {
					if pos, ok := w.memory.Position(0, shard); ok && !pos.Ended {
						t.Errorf("%s is not marked ended: %+v", shard, pos)
					}
				}
			})
		})
	}
}

// closed returns the shards that have children.
func (w *travel) closed() map[gs.ShardID]bool {
	closed := map[gs.ShardID]bool{}
	for _, parents := range w.parents {
		for _, p := range parents {
			closed[p] = true
		}
	}
	return closed
}

// From 4 shards to 64 on demand, by doublings, with records on every shard all
// the time, while two processes run and while none does.
func TestFromFourShardsToSixtyFour(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			inTravel(t, kinesistest.Options{}, 4, func(t *testing.T, w *travel) {
				w.poll = 5 * time.Second
				start := func() {
					w.start()
					w.start()
				}
				start()
				w.putAll("at 4")
				time.Sleep(10 * time.Second)
				if !running {
					for _, p := range w.procs {
						p.end()
					}
				}
				for len(w.open) < 64 {
					for _, s := range slices.Clone(w.open) {
						w.put(s, "good before its split")
						w.split(s)
					}
					w.putAll(fmt.Sprintf("at %d", len(w.open)))
					if running {
						w.soon(30*time.Second, fmt.Sprintf("all is queued of %d shards", len(w.open)), w.queuedAll)
					} else {
						time.Sleep(20 * time.Minute)
					}
				}
				if !running {
					start()
				}
				w.putAll("in the end")
				w.soon(90*time.Second, "everything is queued", w.queuedAll)
				time.Sleep(15 * time.Second)
				w.check(kept)
				if shares, nobody := w.leads(w.open); nobody > 0 || !slices.Equal(shares, []int{32, 32}) {
					t.Errorf("the shares are %v, and %d are nobody's", shares, nobody)
				}
				if lost := w.reported(); len(lost) > 0 {
					t.Errorf("reported as lost: %+v", lost)
				}
			})
		})
	}
}
