package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/storetest"
)

// Promises 2 and 3 where nothing fails: a backlog, a split and a merge, by one
// process.
func TestEveryRecordGoesOnceThroughSplitAndMerge(t *testing.T) {
	inCluster(t, 2, func(_ *testing.T, cl *cluster) {
		cl.traffic(s0, 40)
		cl.traffic(s1, 40)
		a, b := cl.stream.split(s0)
		cl.traffic(a, 20)
		cl.traffic(b, 20)
		c := cl.stream.merge(b, s1)
		cl.traffic(c, 20)
		cl.start(untilCaughtUp).wait(cl.t)
		cl.check()
	})
}

func TestReshardingWhileRunning(t *testing.T) {
	inCluster(t, 1, func(_ *testing.T, cl *cluster) {
		cl.start()
		cl.start()
		cl.traffic(s0, 10)
		time.Sleep(10 * time.Second)
		a, b := cl.stream.split(s0)
		cl.traffic(a, 10)
		cl.traffic(b, 10)
		time.Sleep(2 * time.Second) // far less than the interval between listings
		cl.check()
		c := cl.stream.merge(a, b)
		cl.traffic(c, 10)
		time.Sleep(2 * time.Second)
		cl.check()
		if p := cl.position(a); !p.Ended {
			t.Errorf("the merged shard is not marked ended: %+v", p)
		}
	})
}

// The fail/persist matrix: every write point, the nth write there, each fault.
// A second process stands by, and one that died is replaced.
func TestNothingIsLostOrDoubledWhateverWriteFails(t *testing.T) {
	for _, point := range storetest.Points() {
		for _, fault := range []storetest.Fault{
			storetest.Refuse, storetest.ApplyButError, storetest.RetryLater, storetest.CrashBefore,
			storetest.CrashAfter,
		} {
			for nth := range 8 {
				t.Run(fmt.Sprintf("%s/%s/%d", point, fault, nth), func(t *testing.T) {
					inCluster(t, 2, func(_ *testing.T, cl *cluster) {
						cl.stream.pollEvery, cl.level = time.Second, slog.LevelInfo
						cl.failNth(point, fault, nth)
						cl.traffic(s0, 20)
						cl.traffic(s1, 20)
						a, b := cl.stream.split(s0)
						cl.traffic(a, 12)
						cl.traffic(b, 12)
						cl.keepRunning(2, 3*time.Minute)
						cl.check()
					})
				})
			}
		}
	}
}

// failNth makes the nth write at a point fail.
func (cl *cluster) failNth(point storetest.Point, fault storetest.Fault, nth int) {
	var mu sync.Mutex
	seen := 0
	cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if w.Point != point {
			return storetest.NoFault
		}
		seen++
		if seen == nth+1 {
			return fault
		}
		return storetest.NoFault
	})
}

// keepRunning keeps n processes running for a time, replacing those that end.
func (cl *cluster) keepRunning(n int, d time.Duration) {
	end := time.Now().Add(d)
	running := make([]*process, n)
	for time.Now().Before(end) {
		for i, p := range running {
			if p == nil {
				running[i] = cl.start()
				continue
			}
			select {
			case <-p.done:
				running[i] = cl.start()
			default:
			}
		}
		time.Sleep(time.Second)
	}
}

// Leaderships are taken away at random, with and without notice, and processes
// die, freeze and thaw.
func TestNothingIsLostOrDoubledWhileLeadersChange(t *testing.T) {
	for seed := range 20 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inCluster(t, 2, func(_ *testing.T, cl *cluster) {
				procs := []*process{cl.start(), cl.start(), cl.start()}
				for i := range 60 {
					cl.traffic(s0, 3+i%5)
					cl.traffic(s1, 3)
					switch n := (i*7 + seed*13) % 6; n {
					case 0:
						cl.memory.ExpireLeadership(s0)
					case 1:
						cl.memory.ExpireQuietly(s1)
					case 2:
						p := procs[(i+seed)%3]
						p.store.Freeze()
						time.Sleep(3 * time.Second)
						p.store.Thaw()
					case 3:
						victim := (i + seed) % 3
						procs[victim].kill()
						procs[victim] = cl.start()
					}
					time.Sleep(time.Duration(100+seed*37) * time.Millisecond)
				}
				time.Sleep(time.Minute)
				cl.check()
			})
		})
	}
}

// Promise 1: the anchor is committed before the first read, so that a change of
// leader before the first event loses nothing.
func TestAnchorIsCommittedBeforeTheFirstRead(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		reads := 0
		cl.stream.onRead = func(shard gs.ShardID, from gs.Position) {
			reads++
			if p, ok := cl.memory.Position(0, shard); !ok || !p.From.Time.Equal(from.From.Time) {
				t.Errorf("read from %+v, stored %+v", from, p)
			}
		}
		began := time.Now()
		first := cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Second)
		if from := cl.position(s0).From.Time; !from.Equal(began.Add(-10 * time.Second)) {
			t.Errorf("anchored at %s, want 10 s before %s", from, began)
		}
		first.kill()
		cl.traffic(s0, 10) // nobody reads meanwhile
		time.Sleep(time.Minute)
		cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Second)
		cl.check()
		if reads != 2 {
			t.Errorf("%d readings, want 2", reads)
		}
	})
}

func TestIdleAndFilteredProgressIsCommittedEvery30s(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.start()
		time.Sleep(5 * time.Second)
		cl.stream.put(s0, "drop 1")
		time.Sleep(10 * time.Second)
		if p := cl.position(s0); p.After != "" {
			t.Errorf("a filtered record was committed at once: %+v", p)
		}
		time.Sleep(16 * time.Second)
		p := cl.position(s0)
		if p.After == "" || p.CaughtUp.IsZero() {
			t.Errorf("31 s on, filtered progress is not committed: %+v", p)
		}
		time.Sleep(31 * time.Second)
		if q := cl.position(s0); !q.CaughtUp.After(p.CaughtUp.Add(29 * time.Second)) {
			t.Errorf("idle progress is not committed: %s, then %s", p.CaughtUp, q.CaughtUp)
		}
	})
}

// "Caught up at T" is committed only after an empty page at the tip, with T
// from before that page was requested.
func TestCaughtUpNeedsAnEmptyPageAtTheTip(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.lagsBy = func(gs.ShardID) (time.Duration, bool) { return time.Minute, true }
		p := cl.start()
		time.Sleep(5 * time.Minute)
		if pos := cl.position(s0); !pos.CaughtUp.IsZero() {
			t.Errorf("caught up at %s, lagging all the time", pos.CaughtUp)
		}
		if s := p.Status(); s.Lagging != 1 || s.Shards[0].AtTip {
			t.Errorf("status %+v", s)
		}
	})
}

func TestStopCommitsWhatWasHandledAndResigns(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		p := cl.start()
		cl.stream.put(s0, "good")
		time.Sleep(time.Second)
		cl.stream.put(s0, "drop")
		time.Sleep(time.Second)
		before := time.Now()
		p.stop()
		<-p.done
		if took := time.Since(before); p.err != nil || took > 200*time.Millisecond {
			t.Errorf("stopped in %s with %v", took, p.err)
		}
		if leader := cl.memory.Leader(s0); leader != "" {
			t.Errorf("%s still leads", leader)
		}
		if pos := cl.position(s0); pos.After != cl.stream.shards[s0].records[1].Seq {
			t.Errorf("stopped at %s", pos)
		}
	})
}

// A commit that hangs does not delay a stop for longer than its grace.
func TestStopWaitsBrieflyForACommitInFlight(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		p := cl.start()
		time.Sleep(time.Second)
		p.store.Freeze()
		cl.stream.put(s0, "good")
		time.Sleep(time.Second)
		before := time.Now()
		p.stop()
		<-p.done
		if took := time.Since(before); took > 5*time.Second {
			t.Errorf("stopped in %s", took)
		}
		p.store.Thaw()
		cl.start(untilCaughtUp).wait(t)
		cl.check()
	})
}

func TestAggregateTooLargeForOneCommitGoesInParts(t *testing.T) {
	for nth := range 6 {
		inCluster(t, 1, func(t *testing.T, cl *cluster) {
			cl.failNth(storetest.PointCommit, storetest.ApplyButError, nth)
			cl.stream.put(s0, "good 1")
			cl.stream.putAggregate(s0, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11")
			cl.stream.put(s0, "good 2")
			cl.start(untilCaughtUp).wait(t)
			cl.check()
		})
	}
}

func TestAggregateThatFitsIsCommittedWhole(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
			if w.Point == storetest.PointCommit && w.Commit.Position.Partial != nil {
				t.Errorf("an aggregate was split: %+v", w.Commit.Position)
			}
			return storetest.NoFault
		})
		cl.stream.put(s0, "good 1", "good 2", "good 3")
		cl.stream.putAggregate(s0, "1", "2", "3", "4")
		cl.stream.put(s0, "good 4")
		cl.start(untilCaughtUp).wait(t)
		cl.check()
	})
}

// Promise 1's exceptions are reported: what was trimmed before it could be
// read, once, with its interval.
func TestTrimmedIntervalIsReportedOnce(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		p := cl.start()
		cl.stream.put(s0, "good")
		time.Sleep(time.Minute)
		p.stop()
		<-p.done
		handled := cl.position(s0)
		time.Sleep(30 * time.Hour)
		cl.stream.put(s0, "good 2")
		q := cl.start()
		time.Sleep(time.Hour)
		got := cl.position(s0).Lost
		if len(got) != 1 || !got[0].From.Equal(handled.HandledUntil()) || got[0].Why != "trimmed" ||
			!got[0].Until.After(handled.CaughtUp.Add(5*time.Hour)) {
			t.Errorf("lost %+v; handled until %s", got, handled.HandledUntil())
		}
		if n := strings.Count(q.log.String(), "records may have been lost"); n != 1 {
			t.Errorf("reported %d times", n)
		}
		cl.check() // the record itself was within retention
	})
}

// After a foreign leader nobody knows when the last record arrived. If its
// checkpoint is older than the stream keeps records, some may be lost, since an
// unknown time. A younger checkpoint reports nothing, and stops counting once a
// record is handled.
func TestTrimmedAfterAForeignLeader(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.put(s0, "good")
		cl.start(untilCaughtUp).wait(t)
		pos := cl.position(s0)
		taken := gs.Position{After: pos.After, CheckpointedAt: time.Now()}
		cl.memory.WritePosition(0, s0, storekit.EncodePosition(taken, gs.Stamp{}))
		time.Sleep(20 * time.Hour)
		cl.start(untilCaughtUp).wait(t)
		if got := cl.position(s0).Lost; len(got) != 0 {
			t.Errorf("after 20 hours: lost %+v", got)
		}
		cl.memory.WritePosition(0, s0, storekit.EncodePosition(taken, gs.Stamp{}))
		time.Sleep(10 * time.Hour)
		cl.stream.put(s0, "good 2")
		cl.start(untilCaughtUp).wait(t)
		got := cl.position(s0)
		if len(got.Lost) != 1 || !got.Lost[0].From.IsZero() || !got.Lost[0].Until.After(taken.CheckpointedAt) {
			t.Errorf("after 30 hours: lost %+v", got.Lost)
		}
		if !got.CheckpointedAt.IsZero() {
			t.Errorf("the hint outlived its record: %+v", got)
		}
	})
}

// A reading that begins before the trim horizon and walks away from it slowly
// reports one interval, not one a page.
func TestAWalkFromBeforeTheHorizonIsReportedOnce(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.put(s0, "good")
		cl.start(untilCaughtUp).wait(t)
		time.Sleep(30 * time.Hour)
		began := time.Now()
		cl.stream.lagsBy = func(gs.ShardID) (time.Duration, bool) {
			behind := 24*time.Hour - 9*time.Since(began)
			return behind, behind > 0
		}
		cl.start()
		time.Sleep(3 * time.Hour)
		if got := cl.position(s0).Lost; len(got) != 1 {
			t.Errorf("lost %+v", got)
		}
	})
}

func TestAnIdleShardNeverLooksTrimmed(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.retention = 2 * time.Hour
		cl.stream.put(s0, "good")
		cl.start()
		time.Sleep(4 * time.Hour)
		if got := cl.position(s0).Lost; len(got) != 0 {
			t.Errorf("lost %+v", got)
		}
	})
}

// A walk over empty pages away from the trim horizon is no loss, although the
// horizon passes what was handled last.
func TestAWalkOfEmptyPagesIsNoLoss(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.put(s0, "good")
		cl.start(untilCaughtUp).wait(t)
		time.Sleep(23*time.Hour + 59*time.Minute)
		began := time.Now()
		cl.stream.lagsBy = func(gs.ShardID) (time.Duration, bool) { // ten times as fast as the clock
			behind := 23*time.Hour + 50*time.Minute - 10*time.Since(began)
			return behind, behind > 0
		}
		p := cl.start()
		time.Sleep(3 * time.Hour)
		if got := cl.position(s0).Lost; len(got) != 0 {
			t.Errorf("lost %+v\n%s", got, p.log)
		}
	})
}

func TestBadCheckpointFollowsThePolicy(t *testing.T) {
	for _, refused := range []bool{false, true} { // by the decoder, or by the service
		for _, policy := range []consumer.BadCheckpointPolicy{consumer.BadCheckpointLatest,
			consumer.BadCheckpointTrimHorizon, consumer.BadCheckpointHalt} {
			t.Run(fmt.Sprintf("%s/%v", policy, refused), func(t *testing.T) {
				inCluster(t, 1, func(t *testing.T, cl *cluster) { testBadPosition(t, cl, policy, refused) })
			})
		}
	}
}

func testBadPosition(t *testing.T, cl *cluster, policy consumer.BadCheckpointPolicy, refused bool) {
	cl.stream.put(s0, "good 1")
	cl.start(untilCaughtUp).wait(t)
	time.Sleep(time.Minute)
	cl.stream.put(s0, "good 2")
	time.Sleep(time.Minute)
	bad := cl.position(s0)
	if refused {
		cl.stream.readErr = func(_ gs.ShardID, from gs.Position) error {
			if from.After == bad.After {
				return fmt.Errorf("the service: %w", gs.ErrBadPosition)
			}
			return nil
		}
	} else {
		cl.memory.WritePosition(0, s0, []byte("garbage"))
	}
	p := cl.start(func(c *consumer.Config) { c.OnBadCheckpoint = policy })
	time.Sleep(20 * time.Second)
	cl.stream.put(s0, "good 3")
	time.Sleep(20 * time.Second)
	var got []string
	for _, e := range cl.memory.Entries()[1:] {
		got = append(got, string(e.Payload))
	}
	want := map[consumer.BadCheckpointPolicy][]string{
		consumer.BadCheckpointLatest:      {"good 3"},
		consumer.BadCheckpointTrimHorizon: {"good 2", "good 3"},
		consumer.BadCheckpointHalt:        nil,
	}[policy]
	if policy == consumer.BadCheckpointTrimHorizon && len(got) == 3 {
		got = got[1:] // "good 1" again: this store would take it twice
	}
	if !slices.Equal(got, want) {
		t.Errorf("queued %q, want %q\n%s", got, want, p.log)
	}
	shard := p.Status().Shards[0]
	if halted := policy == consumer.BadCheckpointHalt; (shard.State == gs.StateHalted) != halted ||
		(shard.Trouble != "") != halted {
		t.Errorf("state %q, trouble %q", shard.State, shard.Trouble)
	}
	if !strings.Contains(p.log.String(), "level=ERROR") {
		t.Error("no error in the log")
	}
	if policy == consumer.BadCheckpointLatest && len(cl.position(s0).Lost) != 1 {
		t.Errorf("lost %+v", cl.position(s0).Lost)
	}
}

// Throttling, network, permission and KMS errors never make a checkpoint bad:
// the leadership is kept, the status shows why, and the position does not jump.
// (TestAnUnreadableProcessIsPlannedNothing has another process that can read.)
func TestTroubleWithReadingKeepsTheLeadership(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		p := cl.start()
		time.Sleep(time.Second)
		term := p.Status().Shards[0].Term
		cl.stream.change(func() {
			cl.stream.readErr = func(gs.ShardID, gs.Position) error {
				return fmt.Errorf("%w: no rights", gs.ErrRetrying)
			}
		})
		cl.stream.put(s0, "good")
		time.Sleep(time.Hour)
		if s := p.Status(); !strings.Contains(s.Shards[0].Trouble, "no rights") || s.Unreadable {
			t.Errorf("trouble %q, unreadable %v, though there is nobody else", s.Shards[0].Trouble, s.Unreadable)
		}
		cl.stream.change(func() { cl.stream.readErr = nil })
		time.Sleep(time.Second)
		cl.check()
		if s := p.Status(); s.Shards[0].Term != term || s.Unreadable || s.Shards[0].Trouble != "" {
			t.Errorf("led in term %d, before in term %d; unreadable %v; trouble %q", s.Shards[0].Term, term,
				s.Unreadable, s.Shards[0].Trouble)
		}
	})
}

// fullStore can be read, and takes no report, as a file on a full disk.
type fullStore struct {
	gs.Store
	full atomic.Bool
}

func (s *fullStore) Report(ctx context.Context, status gs.Status) error {
	if s.full.Load() {
		return fmt.Errorf("%w: the disk is full", gs.ErrRetryLater)
	}
	return s.Store.Report(ctx, status)
}

// A process that cannot write to its store is in trouble, also where it leads
// nothing and its plans, which only read, succeed.
func TestAStoreThatTakesNoReportIsTrouble(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.start()
		var store *fullStore
		p := cl.start(func(c *consumer.Config) {
			store = &fullStore{Store: c.Store}
			c.Store = store
		})
		time.Sleep(time.Minute)
		if s := p.Status(); s.Trouble != "" {
			t.Errorf("trouble %q", s.Trouble)
		}
		store.full.Store(true)
		time.Sleep(10 * time.Second)
		if s := p.Status(); s.Trouble != "" {
			t.Errorf("trouble %q, which may pass", s.Trouble)
		}
		time.Sleep(time.Minute)
		if s := p.Status(); !strings.Contains(s.Trouble, "report to the store: ") || s.Causes[""] != "store-away" {
			t.Errorf("trouble %q, %q", s.Trouble, s.Causes)
		}
		store.full.Store(false)
		time.Sleep(10 * time.Second)
		if s := p.Status(); s.Trouble != "" {
			t.Errorf("trouble %q, which has passed", s.Trouble)
		}
	})
}

// A source that stops without a reason is not the end of a shard.
func TestASilentSourceIsNotTheEndOfAShard(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		stopped := false
		cl.stream.readErr = func(gs.ShardID, gs.Position) error {
			if !stopped {
				stopped = true
				return errSilent
			}
			return nil
		}
		cl.start()
		cl.traffic(s0, 10)
		time.Sleep(time.Minute)
		cl.check()
		if cl.position(s0).Ended {
			t.Error("the shard was marked ended")
		}
	})
}

func TestARecreatedStreamStartsANewEpoch(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				cl.stream.put(s0, "good old")
				p := cl.start()
				time.Sleep(time.Minute)
				if !running {
					p.stop()
					<-p.done
					time.Sleep(time.Hour)
				}
				old := cl.stream.id
				again := newStream(1)
				cl.stream.change(func() {
					cl.stream.id, cl.stream.shards, cl.stream.order = again.id, again.shards, again.order
				})
				cl.stream.put(s0, "good new")
				if !running {
					cl.start()
				}
				time.Sleep(time.Minute)
				entries := cl.memory.Entries()
				if len(entries) != 2 || string(entries[1].Payload) != "good new" || entries[0].ID == entries[1].ID {
					t.Fatalf("entries %+v", entries)
				}
				in, _ := cl.memory.Inspect()
				if in.Origin.Epoch != 1 || in.Origin.Stream == old || len(in.Origin.Lost) != 1 ||
					in.Origin.Lost[0].From.IsZero() {
					t.Errorf("origin %+v", in.Origin)
				}
			})
		})
	}
}

// A process that has not noticed that the stream was recreated, while another
// has, writes nothing, and waits until it notices.
func TestAProcessOfAnEpochThatIsOverWritesNothing(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.put(s0, "good old")
		p := cl.start()
		time.Sleep(time.Minute)
		other := cl.memory.Process("another")
		start, _, err := other.Origin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		next := start
		next.Epoch, next.Stream.Created = 1, time.Now()
		next.From = gs.StartingPosition{TrimHorizon: true, Time: next.Stream.Created}
		next.Lost = []gs.Interval{{Until: next.Stream.Created, Why: gs.WhyRecreated}}
		if err := other.SetOrigin(t.Context(), &start, next); err != nil {
			t.Fatal(err)
		}
		cl.stream.put(s0, "good late")
		time.Sleep(5 * time.Minute)
		select {
		case <-p.done:
			t.Fatalf("it ended: %v", p.err)
		default:
		}
		if n := len(cl.memory.Entries()); n != 1 || p.Status().Trouble == "" {
			t.Errorf("%d entries, trouble %q, before the listing shows the new stream", n, p.Status().Trouble)
		}
		again := newStream(1)
		again.id.Created = next.Stream.Created
		cl.stream.change(func() {
			cl.stream.id, cl.stream.shards, cl.stream.order = again.id, again.shards, again.order
		})
		cl.stream.put(s0, "good new")
		time.Sleep(time.Minute)
		entries := cl.memory.Entries()
		if len(entries) != 2 || string(entries[1].Payload) != "good new" || p.Status().Trouble != "" {
			t.Errorf("entries %+v, trouble %q", entries, p.Status().Trouble)
		}
	})
}

func TestAnOlderListingOfARecreatedStreamWritesNothing(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.start(untilCaughtUp).wait(t)
		cl.stream.id.Created = cl.stream.id.Created.Add(-time.Hour)
		p := cl.start()
		time.Sleep(time.Minute)
		in, _ := cl.memory.Inspect()
		if in.Origin.Epoch != 0 || p.Status().Trouble == "" {
			t.Errorf("origin %+v, trouble %q", in.Origin, p.Status().Trouble)
		}
		cl.stream.change(func() { cl.stream.id.Created = cl.stream.id.Created.Add(time.Hour) })
		time.Sleep(time.Minute)
		if trouble := p.Status().Trouble; trouble != "" {
			t.Errorf("still in trouble: %s", trouble)
		}
	})
}

func TestAGoneShardIsClosedAndItsChildrenBegin(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.put(s0, "good 1")
		cl.start(untilCaughtUp).wait(t)
		time.Sleep(time.Minute)
		a, _ := cl.stream.split(s0)
		cl.stream.put(a, "good 2")
		cl.stream.change(func() {
			cl.stream.unlisted[s0] = true
			delete(cl.stream.shards, s0)
		})
		p := cl.start()
		time.Sleep(25 * time.Second)
		if n := len(cl.memory.Entries()); n != 1 {
			t.Errorf("%d entries before the shard counts as gone", n)
		}
		time.Sleep(time.Minute)
		if pos := cl.position(s0); !pos.Ended || len(pos.Lost) != 1 || pos.Lost[0].Why != "shard gone" {
			t.Errorf("position of the gone shard %+v\n%s", pos, p.log)
		}
		if entries := cl.memory.Entries(); len(entries) != 2 || string(entries[1].Payload) != "good 2" {
			t.Errorf("entries %+v", entries)
		}
	})
}

// Errors that cannot pass end Run; others are waited out, also before the first
// listing.
func TestRunEndsOnlyForWhatCannotPass(t *testing.T) {
	for _, tt := range []struct {
		err  error
		ends bool
	}{
		{gs.ErrDenied, true}, {gs.ErrStreamNotFound, true}, {errors.New("connection refused"), false},
	} {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/%v", tt.err, later), func(t *testing.T) {
				inCluster(t, 1, func(t *testing.T, cl *cluster) {
					broken := !later
					cl.stream.listErr = func() error {
						if broken {
							return fmt.Errorf("list: %w", tt.err)
						}
						return nil
					}
					p := cl.start()
					time.Sleep(40 * time.Second)
					cl.stream.change(func() { broken = true })
					time.Sleep(time.Minute)
					select {
					case <-p.done:
						if later || !tt.ends || !errors.Is(p.err, tt.err) {
							t.Errorf("ended with %v", p.err)
						}
						return
					default:
					}
					if tt.ends && !later || p.Status().Trouble == "" {
						t.Errorf("runs on; trouble %q", p.Status().Trouble)
					}
					cl.stream.change(func() { broken = false })
					time.Sleep(time.Minute)
					if trouble := p.Status().Trouble; trouble != "" {
						t.Errorf("still in trouble: %s", trouble)
					}
				})
			})
		}
	}
}

// refusedStore is a store that somebody must mend before a shard can be led.
type refusedStore struct {
	gs.Store
	refused func() error
}

func (s refusedStore) Campaign(ctx context.Context, epoch int, shard gs.ShardID) (gs.Term, error) {
	if err := s.refused(); err != nil {
		return nil, err
	}
	return s.Store.Campaign(ctx, epoch, shard)
}

// A privilege that is taken away, or a table, may be given back.
func TestRunWaitsForAStoreThatRefusesIt(t *testing.T) {
	for _, why := range []error{gs.ErrDenied, gs.ErrUnusable} {
		t.Run(why.Error(), func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				var mended atomic.Bool
				cl.stream.put(s0, "good 1")
				p := cl.start(func(c *consumer.Config) {
					c.Store = refusedStore{cl.memory.Process("a"), func() error {
						if mended.Load() {
							return nil
						}
						return fmt.Errorf("campaign: %w", why)
					}}
				})
				time.Sleep(5 * time.Minute)
				if trouble := p.Status().Shards[0].Trouble; !strings.Contains(trouble, why.Error()) {
					t.Errorf("trouble %q", trouble)
				}
				mended.Store(true)
				time.Sleep(time.Minute)
				if n := len(cl.memory.Entries()); n != 1 || p.Status().Shards[0].Trouble != "" {
					t.Errorf("%d entries, trouble %q once it is mended", n, p.Status().Shards[0].Trouble)
				}
			})
		})
	}
}

// Run waits for what is still being set up where that is configured.
func TestRunWaitsForItsSetup(t *testing.T) {
	for _, missing := range []error{gs.ErrStreamNotFound, gs.ErrUnusable} {
		t.Run(missing.Error(), func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				absent := true
				cl.stream.listErr = func() error {
					if absent {
						return fmt.Errorf("set up: %w", missing)
					}
					return nil
				}
				cl.stream.put(s0, "good 1")
				p := cl.start(func(c *consumer.Config) { c.WaitForSetup = true })
				time.Sleep(5 * time.Minute)
				if trouble := p.Status().Trouble; !strings.Contains(trouble, missing.Error()) {
					t.Errorf("trouble %q while it is missing", trouble)
				}
				cl.stream.change(func() { absent = false })
				time.Sleep(time.Minute)
				if n := len(cl.memory.Entries()); n != 1 || p.Status().Trouble != "" {
					t.Errorf("%d entries, trouble %q once it is there", n, p.Status().Trouble)
				}
			})
		})
	}
}

func TestAnotherStreamIsRefused(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.start(untilCaughtUp).wait(t)
		cl.stream.id.ARN += "-other"
		p := cl.start()
		<-p.done
		if !errors.Is(p.err, gs.ErrOtherStream) {
			t.Errorf("run: %v", p.err)
		}
	})
}

func TestNewerFormatsAreRefused(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.start(untilCaughtUp).wait(t)
		cl.memory.WritePosition(0, s0, []byte(`{"format":99}`))
		p := cl.start()
		<-p.done
		if !errors.Is(p.err, gs.ErrNewerFormat) {
			t.Errorf("run: %v", p.err)
		}
	})
}

func TestAFutureStartIsRefused(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		p := cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{Time: time.Now().Add(time.Hour)} })
		<-p.done
		if !errors.Is(p.err, gs.ErrFutureStart) {
			t.Errorf("run: %v", p.err)
		}
		if _, ok := cl.memory.Position(0, s0); ok {
			t.Error("a position was written")
		}
	})
}

// The origin is recorded once; later processes use it.
func TestTheOriginIsDecidedOnce(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.put(s0, "good")
		time.Sleep(time.Hour)
		cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Second)
		p := cl.start()
		time.Sleep(time.Minute)
		if n := len(cl.memory.Entries()); n != 0 {
			t.Errorf("%d entries from before the start", n)
		}
		if !strings.Contains(p.log.String(), "ignoring --start-at") {
			t.Errorf("the origin is not logged:\n%s", p.log)
		}
	})
}

func TestUntilCaughtUpWaitsForShardsLedElsewhere(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.start()
		time.Sleep(time.Second)
		cl.traffic(s0, 30)
		cl.traffic(s1, 30)
		cl.start(untilCaughtUp).wait(t)
		cl.check()
	})
}

// What another process, or an earlier run, committed just before does not count
// as the tip.
func TestUntilCaughtUpReadsWhatCameSinceAnEarlierRun(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.lag = 2 * time.Second
		cl.start(untilCaughtUp).wait(t)
		cl.stream.put(s0, "good")
		cl.start(untilCaughtUp).wait(t)
		cl.check()
	})
}

// slowStore takes a second to read the positions.
type slowStore struct{ gs.Store }

func (s slowStore) Positions(ctx context.Context, epoch int) (map[gs.ShardID]gs.Position, error) {
	time.Sleep(time.Second)
	return s.Store.Positions(ctx, epoch)
}

// A shard that ends between the listing and the reading of the positions has
// children that nobody has listed yet.
func TestUntilCaughtUpDoesNotMissChildrenOfAShardThatJustEnded(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.traffic(s0, 5)
		p := cl.start(untilCaughtUp, func(c *consumer.Config) { c.Store = slowStore{c.Store} })
		time.Sleep(2600 * time.Millisecond)
		a, b := cl.stream.split(s0)
		cl.traffic(a, 5)
		cl.traffic(b, 5)
		p.wait(t)
		cl.check()
	})
}

// goneStore is a Store that was taken away; its terms do not notice.
type goneStore struct {
	gs.Store
	gone *atomic.Bool
}

func (s goneStore) Positions(ctx context.Context, epoch int) (map[gs.ShardID]gs.Position, error) {
	if s.gone.Load() {
		return nil, gs.ErrStoreGone
	}
	return s.Store.Positions(ctx, epoch)
}

// A store that was taken away does not come back: it ends Run also of a process
// that leads nothing.
func TestAStoreThatIsGoneEndsRun(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		var gone atomic.Bool
		p := cl.start(func(c *consumer.Config) { c.Store = goneStore{c.Store, &gone} })
		time.Sleep(time.Minute)
		gone.Store(true)
		select {
		case <-p.done:
		case <-time.After(time.Minute):
			t.Fatal("still running a minute later")
		}
		if !errors.Is(p.err, gs.ErrStoreGone) {
			t.Errorf("run returned %v", p.err)
		}
	})
}
