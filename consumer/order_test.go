package consumer_test

import (
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/storetest"
)

// The local clock may be wrong by hours: a stream begins by the service's.
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

// At a first start beside another program that leads, nothing older is queued
// than what that may have queued: it reads from the tip. One that only stands
// in line, and has read nothing, changes nothing; neither does one beside which
// somebody says where to begin.
func TestTheOriginBesideAForeignLeader(t *testing.T) {
	for name, tc := range map[string]struct {
		ours, foreign bool // who stands in line for a shard, in this order
		want          gs.StartingPosition
		before        time.Duration // where the stream begins, before now
	}{
		"nobody":           {before: 10 * time.Second},
		"it leads":         {foreign: true},
		"it stands behind": {ours: true, foreign: true, before: 10 * time.Second},
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
					t.Fatalf("there is no start record: %v", err)
				}
				if from, want := in.Origin.From.Time, began.Add(-tc.before); !from.Equal(want) {
					t.Errorf("the stream begins at %v, want %v", from, want)
				}
			})
		})
	}
}

// While a process campaigns for a child, another reads its parent to the end,
// and the stream trims the parent. Inside its term the child's leader lists
// first and reads the positions then: it sees that the parent was followed, and
// begins at the child's trim horizon. The other way round it would see neither,
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

// A page with records may say that the tip is reached while a record of the
// same moment is on its way: only an empty one tells that everything had been
// handled.
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
// first, goes to its heir all the same.
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
