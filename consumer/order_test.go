package consumer_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/storetest"
)

// The local clock may be wrong by hours: a stream begins by the service's
// clock.
func TestTheOriginIsByTheServicesClock(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.lag = 40 * time.Minute
		began := time.Now()
		cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Second)
		from := cl.position(s0).From.Time
		if want := began.Add(-cl.stream.lag - 10*time.Second); from.Sub(want).Abs() > time.Second {
			t.Errorf("the stream begins at %v, want %v: it is %v by the service's clock", from, want,
				began.Add(-cl.stream.lag))
		}
	})
}

// At a first start beside a foreign leader, nothing older is queued than what
// that leader may have queued: it reads from the tip. A foreign candidate that
// has read nothing changes nothing, nor does a foreign leader where the
// configuration has a start.
func TestTheOriginBesideAForeignLeader(t *testing.T) {
	for name, tc := range map[string]struct {
		ours, foreign bool // who stands in line for a shard, in this order
		want          gs.StartingPosition
		before        time.Duration // where the stream begins, before now
	}{
		"nobody":            {before: 10 * time.Second},
		"it leads":          {foreign: true},
		"it is a candidate": {ours: true, foreign: true, before: 10 * time.Second},
		"it leads, with a time": {foreign: true, want: gs.StartingPosition{Time: time.Now().Add(-time.Minute)},
			before: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 2, func(t *testing.T, cl *cluster) {
				if tc.ours {
					if _, err := cl.memory.Process("ours").Campaign(t.Context(), 0, s0); err != nil {
						t.Fatal(err)
					}
				}
				if tc.foreign {
					cl.memory.Foreign("zuul", s0)
				}
				if !tc.want.Time.IsZero() {
					tc.want.Time = time.Now().Add(-tc.before)
				}
				began := time.Now()
				cl.start(func(c *consumer.Config) { c.StartAt = tc.want })
				time.Sleep(time.Second)
				in, err := cl.memory.Inspect()
				if err != nil || in.Origin == nil {
					t.Fatalf("there is no origin: %v", err)
				}
				if from, want := in.Origin.From.Time, began.Add(-tc.before); !from.Equal(want) {
					t.Errorf("the stream begins at %v, want %v", from, want)
				}
			})
		})
	}
}

// While a process campaigns for a child, another reads its parent to the end,
// and the stream trims the parent. Within its term the child's leader lists
// first and then reads the positions: it sees that the parent was followed, and
// begins at the child's trim horizon. In the other order it would see neither,
// and begin where the stream does.
func TestASurveyReadsPositionsLast(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		child, _ := cl.stream.split(s0)
		cl.stream.change(func() { cl.stream.unlisted[s0] = true })
		other := cl.memory.Process("other")
		var elected atomic.Bool
		cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
			if w.Point == storetest.PointCampaign && w.Shard == child {
				elected.Store(true)
			}
			return storetest.NoFault
		})
		cl.stream.listErr = func() error {
			if !elected.CompareAndSwap(true, false) { // not the listing inside the term
				return nil
			}
			term, err := other.Campaign(t.Context(), 0, s0)
			if err != nil {
				t.Error(err)
				return err
			}
			ended := gs.Position{After: "1", Arrived: time.Now(), Ended: true}
			if err := term.Commit(t.Context(), gs.Commit{Position: ended}); err != nil {
				t.Error(err)
			}
			return nil
		}
		cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Second)
		if from := cl.position(child).From; !from.TrimHorizon {
			t.Errorf("the child of a followed parent begins from %+v", from)
		}
	})
}

// A page with records may reach the tip while a record of the same moment is on
// its way: only an empty page shows that everything had been handled.
func TestAPageWithRecordsIsNotTheTip(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.readErr = func(shard gs.ShardID, _ gs.Position) error {
			m := cl.stream.shards[shard] // under the stream's mutex: no page is ever empty
			m.records = append(m.records, gs.Record{Seq: cl.stream.next(), Sub: gs.NoSub, Last: true,
				Arrived: time.Now(), Data: []byte("good")})
			return nil
		}
		cl.start()
		time.Sleep(time.Minute)
		if pos := cl.position(s0); !pos.CaughtUp.IsZero() || pos.After == "" {
			t.Errorf("position %+v, though no page was empty", pos)
		}
	})
}

// A shard that is handed over, and whose resignation the store refuses at
// first, still goes to the next candidate.
func TestAResignationIsTriedAgain(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.start()
		time.Sleep(2 * time.Second)
		cl.failNth(storetest.PointResign, storetest.Refuse, 0)
		cl.start()
		time.Sleep(10 * time.Second)
		if a, b := cl.memory.Leader(s0), cl.memory.Leader(s1); a == "" || b == "" || a == b {
			t.Errorf("%s is led by %q, %s by %q", s0, a, s1, b)
		}
	})
}

// Every commit carries the time by the service's clock at its beginning, never
// later and at most some seconds earlier: whatever the local clock says,
// however old the page is, and however often the store makes it retry.
func TestCommitsCarryTheServicesClock(t *testing.T) {
	for name, ahead := range map[string]time.Duration{
		"clocks agree": 0, "the service is ahead": 37 * time.Minute, "the service is behind": -37 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			inKinesisCluster(t, kinesistest.Options{}, 1, func(t *testing.T, k *kinesisCluster) {
				k.poll = time.Second
				k.server.AdvanceClock(ahead)
				var mu sync.Mutex
				busy, tries := false, 0
				k.memory.SetHook(func(write storetest.Write) storetest.Fault {
					if write.Commit == nil {
						return storetest.NoFault
					}
					if late := k.server.Now().Sub(write.Commit.Now); late < 0 || late > 3*time.Second {
						t.Errorf("a commit carries %s, which is %s late", write.Commit.Now, late)
					}
					mu.Lock()
					defer mu.Unlock()
					if tries++; busy && len(write.Commit.Entries) > 0 {
						return storetest.RetryLater
					}
					return storetest.NoFault
				})
				for n := range 30 { // a backlog
					k.put(s0, fmt.Sprint("good ", n))
				}
				time.Sleep(time.Hour)
				sink := &stuckSink{make(chan struct{})}
				k.start(func(c *consumer.Config) { c.Sinks = []gs.Sink{sink} })
				time.Sleep(10 * time.Minute)
				mu.Lock()
				busy = true
				mu.Unlock()
				close(sink.free)
				time.Sleep(10 * time.Minute)
				mu.Lock()
				busy = false
				mu.Unlock()
				k.soon(time.Minute, "everything is queued", k.queuedAll)
				if tries < 10 {
					t.Errorf("%d commits were tried", tries)
				}
			})
		})
	}
}
