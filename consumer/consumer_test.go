package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/storetest"
)

// house is a stream, a store and the processes that join them, inside a
// synctest bubble.
type house struct {
	t      *testing.T
	stream *stream
	memory *storetest.Memory
	procs  []*proc
	level  slog.Level // of the processes' logs
}

// proc is a Consumer that runs.
type proc struct {
	*consumer.Consumer
	store *storetest.Process
	stop  context.CancelFunc
	done  chan struct{}
	err   error // of Run, once done is closed
	log   *safeBuffer
}

// safeBuffer is a log that may be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func inHouse(t *testing.T, shards int, test func(*testing.T, *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, level: slog.LevelDebug, stream: newStream(shards), memory: storetest.NewMemory(storetest.MemoryConfig{
			Limits: gs.Limits{Items: 4, Weight: 8 << 10},
		})}
		time.Sleep(time.Hour) // the stream is older than any process
		test(t, h)
		for _, p := range h.procs {
			p.stop()
			<-p.done
		}
	})
}

// classify is what the tests' records say of themselves.
func classify(_ gs.ShardID, r *gs.Record) gs.Verdict {
	data := r.Data
	switch {
	case bytes.HasPrefix(data, []byte("bad")):
		return gs.Verdict{Bad: "test", Detail: "it says so"}
	case bytes.HasPrefix(data, []byte("drop")):
		return gs.Verdict{Filter: "test"}
	}
	return gs.Verdict{Event: gs.Event{Type: "test"}}
}

func (h *house) start(change ...func(*consumer.Config)) *proc {
	h.t.Helper()
	name := fmt.Sprintf("process-%d", len(h.procs))
	p := &proc{store: h.memory.Process(name), done: make(chan struct{}), log: &safeBuffer{}}
	cfg := consumer.Config{
		Source: h.stream, Store: p.store, Classify: classify, Process: name, StartAt: gs.StartingPosition{TrimHorizon: true},
		Logger: slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: h.level})),
	}
	for _, c := range change {
		c(&cfg)
	}
	l, err := consumer.New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	p.Consumer = l
	ctx, cancel := context.WithCancel(h.t.Context())
	p.stop = cancel
	h.procs = append(h.procs, p)
	go func() {
		defer close(p.done)
		p.err = l.Run(ctx)
	}()
	return p
}

// kill ends the process without a word: nothing it does from now on reaches the
// store.
func (p *proc) kill() {
	p.store.Kill()
	p.stop()
	<-p.done
}

func untilCaughtUp(c *consumer.Config) { c.UntilCaughtUp = true }

// wait lets the process end by itself.
func (p *proc) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Hour):
		t.Fatalf("still running after an hour:\n%s", p.log)
	}
	if p.err != nil {
		t.Fatalf("run: %v\n%s", p.err, p.log)
	}
}

func line(shard gs.ShardID, seq gs.SequenceNumber, sub int, data []byte) string {
	return fmt.Sprintf("%s %s/%d %s", shard, seq, sub, data)
}

// check holds what is in the store against what was put on the stream: nothing
// lost, nothing twice, in order.
func (h *house) check() {
	h.t.Helper()
	var queued, dead, wantQueued, wantDead []string
	for _, e := range h.memory.Entries() {
		queued = append(queued, line(e.Shard, e.Seq, e.Sub, e.Payload))
	}
	for _, d := range h.memory.DeadLetters() {
		dead = append(dead, line(d.Shard, d.Seq, d.Sub, d.Payload))
	}
	for _, l := range h.stream.all() {
		switch data := strings.SplitN(l, " ", 3)[2]; {
		case strings.HasPrefix(data, "bad"):
			wantDead = append(wantDead, l)
		case !strings.HasPrefix(data, "drop"):
			wantQueued = append(wantQueued, l)
		}
	}
	byShard := func(a, b string) int { return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0]) }
	slices.SortStableFunc(queued, byShard)
	slices.SortStableFunc(dead, byShard)
	if !slices.Equal(queued, wantQueued) {
		h.t.Errorf("queued\n%s\nwant\n%s", strings.Join(queued, "\n"), strings.Join(wantQueued, "\n"))
	}
	if !slices.Equal(dead, wantDead) {
		h.t.Errorf("dead-lettered\n%s\nwant\n%s", strings.Join(dead, "\n"), strings.Join(wantDead, "\n"))
	}
}

// position returns a shard's position in the first epoch.
func (h *house) position(shard gs.ShardID) gs.Position {
	h.t.Helper()
	p, ok := h.memory.Position(0, shard)
	if !ok {
		h.t.Fatalf("%s has no position", shard)
	}
	return p
}

const s0, s1 = gs.ShardID("shardId-000000000000"), gs.ShardID("shardId-000000000001")

// traffic puts a mixture on a shard: good, filtered and bad records and
// aggregates of all of these.
func (h *house) traffic(shard gs.ShardID, n int) {
	for i := range n {
		switch i % 7 {
		case 2:
			h.stream.put(shard, fmt.Sprintf("drop %d", i))
		case 4:
			h.stream.put(shard, fmt.Sprintf("bad %d", i))
		case 5:
			h.stream.putAggregate(shard, fmt.Sprintf("a %d", i), fmt.Sprintf("drop b %d", i), fmt.Sprintf("bad c %d", i),
				fmt.Sprintf("d %d", i), fmt.Sprintf("e %d", i), fmt.Sprintf("f %d", i), fmt.Sprintf("drop g %d", i))
		default:
			h.stream.put(shard, fmt.Sprintf("good %d", i))
		}
	}
}

// Promise 2 and 3 where nothing fails: a backlog, a split and a merge, by one
// process.
func TestEveryRecordGoesOnceThroughSplitAndMerge(t *testing.T) {
	inHouse(t, 2, func(_ *testing.T, h *house) {
		h.traffic(s0, 40)
		h.traffic(s1, 40)
		a, b := h.stream.split(s0)
		h.traffic(a, 20)
		h.traffic(b, 20)
		c := h.stream.merge(b, s1)
		h.traffic(c, 20)
		h.start(untilCaughtUp).wait(h.t)
		h.check()
		h.checkLineage()
	})
}

// checkLineage: no record of a child was committed before the last one of its
// parents.
func (h *house) checkLineage() {
	h.t.Helper()
	last := map[gs.ShardID]int{}
	first := map[gs.ShardID]int{}
	for i, e := range h.memory.Entries() {
		last[e.Shard] = i
		if _, ok := first[e.Shard]; !ok {
			first[e.Shard] = i
		}
	}
	for id, m := range h.stream.shards {
		for _, p := range m.shard.Parents {
			if f, ok := first[id]; ok && f < last[p] {
				h.t.Errorf("%s began before its parent %s was done", id, p)
			}
		}
	}
}

func TestReshardingWhileRunning(t *testing.T) {
	inHouse(t, 1, func(_ *testing.T, h *house) {
		h.start()
		h.start()
		h.traffic(s0, 10)
		time.Sleep(10 * time.Second)
		a, b := h.stream.split(s0)
		h.traffic(a, 10)
		h.traffic(b, 10)
		time.Sleep(2 * time.Second) // far less than the interval between listings
		h.check()
		c := h.stream.merge(a, b)
		h.traffic(c, 10)
		time.Sleep(2 * time.Second)
		h.check()
		h.checkLineage()
		if p := h.position(a); !p.Ended {
			t.Errorf("the merged shard is not marked ended: %+v", p)
		}
	})
}

// The fail/persist matrix: every write point, the nth write there, each fault;
// a second process stands by, and one that died is replaced.
func TestNothingIsLostOrDoubledWhateverWriteFails(t *testing.T) {
	for _, point := range storetest.Points() {
		for _, fault := range []storetest.Fault{
			storetest.Refuse, storetest.ApplyButError, storetest.RetryLater, storetest.CrashBefore, storetest.CrashAfter,
		} {
			for nth := range 8 {
				t.Run(fmt.Sprintf("%s/%s/%d", point, fault, nth), func(t *testing.T) {
					inHouse(t, 2, func(_ *testing.T, h *house) {
						h.stream.pollEvery, h.level = time.Second, slog.LevelInfo
						h.failNth(point, fault, nth)
						h.traffic(s0, 20)
						h.traffic(s1, 20)
						a, b := h.stream.split(s0)
						h.traffic(a, 12)
						h.traffic(b, 12)
						h.keepRunning(2, 3*time.Minute)
						h.check()
						h.checkLineage()
					})
				})
			}
		}
	}
}

// failNth makes the nth write at a point suffer a fault.
func (h *house) failNth(point storetest.Point, fault storetest.Fault, nth int) {
	var mu sync.Mutex
	seen := 0
	h.memory.SetHook(func(w storetest.Write) storetest.Fault {
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

// keepRunning runs so many processes for so long, replacing those that end.
func (h *house) keepRunning(n int, d time.Duration) {
	end := time.Now().Add(d)
	running := make([]*proc, n)
	for time.Now().Before(end) {
		for i, p := range running {
			if p == nil {
				running[i] = h.start()
				continue
			}
			select {
			case <-p.done:
				running[i] = h.start()
			default:
			}
		}
		time.Sleep(time.Second)
	}
}

// Leaderships that are taken away at random, announced and unannounced, and
// processes that die, freeze and thaw.
func TestNothingIsLostOrDoubledWhileLeadersChange(t *testing.T) {
	for seed := range 20 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inHouse(t, 2, func(_ *testing.T, h *house) {
				procs := []*proc{h.start(), h.start(), h.start()}
				for i := range 60 {
					h.traffic(s0, 3+i%5)
					h.traffic(s1, 3)
					switch n := (i*7 + seed*13) % 6; n {
					case 0:
						h.memory.ExpireLeadership(s0)
					case 1:
						h.memory.ExpireQuietly(s1)
					case 2:
						p := procs[(i+seed)%3]
						p.store.Freeze()
						time.Sleep(3 * time.Second)
						p.store.Thaw()
					case 3:
						victim := (i + seed) % 3
						procs[victim].kill()
						procs[victim] = h.start()
					}
					time.Sleep(time.Duration(100+seed*37) * time.Millisecond)
				}
				time.Sleep(time.Minute)
				h.check()
			})
		})
	}
}

// Promise 1: the anchor is there before the first read, so that a change of
// leader before the first event loses nothing.
func TestAnchorIsCommittedBeforeTheFirstRead(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		reads := 0
		h.stream.onRead = func(shard gs.ShardID, from gs.Position) {
			reads++
			if p, ok := h.memory.Position(0, shard); !ok || !p.From.Time.Equal(from.From.Time) {
				t.Errorf("read from %+v, stored %+v", from, p)
			}
		}
		began := time.Now()
		first := h.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Second)
		if from := h.position(s0).From.Time; !from.Equal(began.Add(-10 * time.Second)) {
			t.Errorf("anchored at %s, want 10 s before %s", from, began)
		}
		first.kill()
		h.traffic(s0, 10) // while nobody reads
		time.Sleep(time.Minute)
		h.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Second)
		h.check()
		if reads != 2 {
			t.Errorf("%d readings, want 2", reads)
		}
	})
}

func TestIdleAndFilteredProgressIsCommittedEvery30s(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.start()
		time.Sleep(5 * time.Second)
		h.stream.put(s0, "drop 1")
		time.Sleep(10 * time.Second)
		if p := h.position(s0); p.After != "" {
			t.Errorf("a filtered record was committed at once: %+v", p)
		}
		time.Sleep(16 * time.Second)
		p := h.position(s0)
		if p.After == "" || p.CaughtUp.IsZero() {
			t.Errorf("31 s on, filtered progress is not committed: %+v", p)
		}
		time.Sleep(31 * time.Second)
		if q := h.position(s0); !q.CaughtUp.After(p.CaughtUp.Add(29 * time.Second)) {
			t.Errorf("idle progress is not committed: %s, then %s", p.CaughtUp, q.CaughtUp)
		}
	})
}

// "Caught up at T" is written only after an empty page at the tip, with T from
// before that page was asked for.
func TestCaughtUpNeedsAnEmptyPageAtTheTip(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.stream.behindBy = func(gs.ShardID) (time.Duration, bool) { return time.Minute, true }
		p := h.start()
		time.Sleep(5 * time.Minute)
		if pos := h.position(s0); !pos.CaughtUp.IsZero() {
			t.Errorf("caught up at %s, behind all the time", pos.CaughtUp)
		}
		if s := p.Status(); s.Lagging != 1 || s.Shards[0].AtTip {
			t.Errorf("status %+v", s)
		}
	})
}

func TestStopCommitsWhatWasHandledAndResigns(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		p := h.start()
		h.stream.put(s0, "good")
		time.Sleep(time.Second)
		h.stream.put(s0, "drop")
		time.Sleep(time.Second)
		before := time.Now()
		p.stop()
		<-p.done
		if took := time.Since(before); p.err != nil || took > 200*time.Millisecond {
			t.Errorf("stopped in %s with %v", took, p.err)
		}
		if leader := h.memory.Leader(s0); leader != "" {
			t.Errorf("%s still leads", leader)
		}
		if pos := h.position(s0); pos.After != h.stream.shards[s0].records[1].Seq {
			t.Errorf("stopped at %s", pos)
		}
	})
}

// A commit that hangs does not hold up a stop for longer than its grace.
func TestStopWaitsBrieflyForACommitInFlight(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		p := h.start()
		time.Sleep(time.Second)
		p.store.Freeze()
		h.stream.put(s0, "good")
		time.Sleep(time.Second)
		before := time.Now()
		p.stop()
		<-p.done
		if took := time.Since(before); took > 5*time.Second {
			t.Errorf("stopped in %s", took)
		}
		p.store.Thaw()
		h.start(untilCaughtUp).wait(t)
		h.check()
	})
}

func TestAggregateTooLargeForOneCommitGoesInParts(t *testing.T) {
	for nth := range 6 {
		inHouse(t, 1, func(t *testing.T, h *house) {
			h.failNth(storetest.PointCommit, storetest.ApplyButError, nth)
			h.stream.put(s0, "good 1")
			h.stream.putAggregate(s0, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11")
			h.stream.put(s0, "good 2")
			h.start(untilCaughtUp).wait(t)
			h.check()
		})
	}
}

func TestAggregateThatFitsIsCommittedWhole(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.memory.SetHook(func(w storetest.Write) storetest.Fault {
			if w.Point == storetest.PointCommit && w.Commit.Position.Partial != nil {
				t.Errorf("an aggregate was cut: %+v", w.Commit.Position)
			}
			return storetest.NoFault
		})
		h.stream.put(s0, "good 1", "good 2", "good 3")
		h.stream.putAggregate(s0, "1", "2", "3", "4")
		h.stream.put(s0, "good 4")
		h.start(untilCaughtUp).wait(t)
		h.check()
	})
}

// Promise 1's exceptions are reported: what was trimmed before it could be
// read, once, with its interval.
func TestTrimmedIntervalIsReportedOnce(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		p := h.start()
		h.stream.put(s0, "good")
		time.Sleep(time.Minute)
		p.stop()
		<-p.done
		handled := h.position(s0)
		time.Sleep(30 * time.Hour)
		h.stream.put(s0, "good 2")
		q := h.start()
		time.Sleep(time.Hour)
		got := h.position(s0).Lost
		if len(got) != 1 || !got[0].From.Equal(handled.HandledUntil()) || got[0].Why != "trimmed" ||
			!got[0].Until.After(handled.CaughtUp.Add(5*time.Hour)) {
			t.Errorf("lost %+v; handled until %s", got, handled.HandledUntil())
		}
		if n := strings.Count(q.log.String(), "records may have been lost"); n != 1 {
			t.Errorf("reported %d times", n)
		}
		h.check() // the record itself was within retention
	})
}

// Behind Zuul's own listener nobody knows when the last record arrived; when
// its checkpoint is older than the stream keeps, records may be lost, since an
// unknown time. A younger one says nothing, and counts for nothing once a
// record is handled.
func TestTrimmedBehindZuulsOwnListener(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.stream.put(s0, "good")
		h.start(untilCaughtUp).wait(t)
		pos := h.position(s0)
		taken := gs.Position{After: pos.After, CheckpointedAt: time.Now()}
		h.memory.WritePosition(0, s0, storekit.EncodePosition(taken, gs.Stamp{}))
		time.Sleep(20 * time.Hour)
		h.start(untilCaughtUp).wait(t)
		if got := h.position(s0).Lost; len(got) != 0 {
			t.Errorf("after 20 hours: lost %+v", got)
		}
		h.memory.WritePosition(0, s0, storekit.EncodePosition(taken, gs.Stamp{}))
		time.Sleep(10 * time.Hour)
		h.stream.put(s0, "good 2")
		h.start(untilCaughtUp).wait(t)
		got := h.position(s0)
		if len(got.Lost) != 1 || !got.Lost[0].From.IsZero() || !got.Lost[0].Until.After(taken.CheckpointedAt) {
			t.Errorf("after 30 hours: lost %+v", got.Lost)
		}
		if !got.CheckpointedAt.IsZero() {
			t.Errorf("the hint outlived its record: %+v", got)
		}
	})
}

// A reading that begins behind the trim horizon and walks away from it slowly
// reports one interval, not one a page.
func TestAWalkFromBehindTheHorizonIsReportedOnce(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.stream.put(s0, "good")
		h.start(untilCaughtUp).wait(t)
		time.Sleep(30 * time.Hour)
		began := time.Now()
		h.stream.behindBy = func(gs.ShardID) (time.Duration, bool) {
			behind := 24*time.Hour - 9*time.Since(began)
			return behind, behind > 0
		}
		h.start()
		time.Sleep(3 * time.Hour)
		if got := h.position(s0).Lost; len(got) != 1 {
			t.Errorf("lost %+v", got)
		}
	})
}

func TestAnIdleShardNeverLooksTrimmed(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.stream.retention = 2 * time.Hour
		h.stream.put(s0, "good")
		h.start()
		time.Sleep(4 * time.Hour)
		if got := h.position(s0).Lost; len(got) != 0 {
			t.Errorf("lost %+v", got)
		}
	})
}

// A walk of empty pages away from the trim horizon is no loss, although what
// was handled last falls behind the horizon.
func TestAWalkOfEmptyPagesIsNoLoss(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.stream.put(s0, "good")
		h.start(untilCaughtUp).wait(t)
		time.Sleep(23*time.Hour + 59*time.Minute)
		began := time.Now()
		h.stream.behindBy = func(gs.ShardID) (time.Duration, bool) { // ten times as fast as time
			behind := 23*time.Hour + 50*time.Minute - 10*time.Since(began)
			return behind, behind > 0
		}
		p := h.start()
		time.Sleep(3 * time.Hour)
		if got := h.position(s0).Lost; len(got) != 0 {
			t.Errorf("lost %+v\n%s", got, p.log)
		}
	})
}

func TestBadPositionFollowsThePolicy(t *testing.T) {
	for _, refused := range []bool{false, true} { // by the decoder, or by the service
		for _, policy := range []consumer.BadCheckpointPolicy{consumer.BadCheckpointLatest, consumer.BadCheckpointTrimHorizon, consumer.BadCheckpointHalt} {
			t.Run(fmt.Sprintf("%s/%v", policy, refused), func(t *testing.T) {
				inHouse(t, 1, func(t *testing.T, h *house) { testBadPosition(t, h, policy, refused) })
			})
		}
	}
}

func testBadPosition(t *testing.T, h *house, policy consumer.BadCheckpointPolicy, refused bool) {
	h.stream.put(s0, "good 1")
	h.start(untilCaughtUp).wait(t)
	time.Sleep(time.Minute)
	h.stream.put(s0, "good 2")
	time.Sleep(time.Minute)
	bad := h.position(s0)
	if refused {
		h.stream.readErr = func(_ gs.ShardID, from gs.Position) error {
			if from.After == bad.After {
				return fmt.Errorf("the service says: %w", gs.ErrBadPosition)
			}
			return nil
		}
	} else {
		h.memory.WritePosition(0, s0, []byte("garbage"))
	}
	p := h.start(func(c *consumer.Config) { c.OnBadCheckpoint = policy })
	time.Sleep(20 * time.Second)
	h.stream.put(s0, "good 3")
	time.Sleep(20 * time.Second)
	var got []string
	for _, e := range h.memory.Entries()[1:] {
		got = append(got, string(e.Payload))
	}
	want := map[consumer.BadCheckpointPolicy][]string{
		consumer.BadCheckpointLatest:      {"good 3"},
		consumer.BadCheckpointTrimHorizon: {"good 2", "good 3"},
		consumer.BadCheckpointHalt:        nil,
	}[policy]
	if policy == consumer.BadCheckpointTrimHorizon && len(got) == 3 {
		got = got[1:] // "good 1" again, in a store that would take it twice
	}
	if !slices.Equal(got, want) {
		t.Errorf("queued %q, want %q\n%s", got, want, p.log)
	}
	shard := p.Status().Shards[0]
	if halted := policy == consumer.BadCheckpointHalt; (shard.State == gs.StateHalted) != halted || (shard.Trouble != "") != halted {
		t.Errorf("state %q, trouble %q", shard.State, shard.Trouble)
	}
	if !strings.Contains(p.log.String(), "level=ERROR") {
		t.Error("nothing loud in the log")
	}
	if policy == consumer.BadCheckpointLatest && len(h.position(s0).Lost) != 1 {
		t.Errorf("lost %+v", h.position(s0).Lost)
	}
}

// Throttling, network, permission and KMS errors are never "bad": the
// leadership is kept, status says why, nothing jumps. (That another process
// which can read takes over is TestAnUnreadableProcessIsPlannedNothing.)
func TestTroubleWithReadingKeepsTheLeadership(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		p := h.start()
		time.Sleep(time.Second)
		term := p.Status().Shards[0].Term
		h.stream.change(func() {
			h.stream.readErr = func(gs.ShardID, gs.Position) error { return fmt.Errorf("%w: no rights", gs.ErrRetrying) }
		})
		h.stream.put(s0, "good")
		time.Sleep(time.Hour)
		if s := p.Status(); !strings.Contains(s.Shards[0].Trouble, "no rights") || s.Unreadable {
			t.Errorf("trouble %q, unreadable %v, though there is nobody else", s.Shards[0].Trouble, s.Unreadable)
		}
		h.stream.change(func() { h.stream.readErr = nil })
		time.Sleep(time.Second)
		h.check()
		if s := p.Status(); s.Shards[0].Term != term || s.Unreadable || s.Shards[0].Trouble != "" {
			t.Errorf("led in term %d, before in term %d; unreadable %v; trouble %q", s.Shards[0].Term, term, s.Unreadable, s.Shards[0].Trouble)
		}
	})
}

// A source that stops without a reason is not the end of a shard.
func TestASilentSourceIsNotTheEndOfAShard(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		stopped := false
		h.stream.readErr = func(gs.ShardID, gs.Position) error {
			if !stopped {
				stopped = true
				return errSilent
			}
			return nil
		}
		h.start()
		h.traffic(s0, 10)
		time.Sleep(time.Minute)
		h.check()
		if h.position(s0).Ended {
			t.Error("the shard was marked ended")
		}
	})
}

func TestARecreatedStreamStartsANewEpoch(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			inHouse(t, 1, func(t *testing.T, h *house) {
				h.stream.put(s0, "good old")
				p := h.start()
				time.Sleep(time.Minute)
				if !running {
					p.stop()
					<-p.done
					time.Sleep(time.Hour)
				}
				old := h.stream.id
				again := newStream(1)
				h.stream.change(func() { h.stream.id, h.stream.shards, h.stream.order = again.id, again.shards, again.order })
				h.stream.put(s0, "good new")
				if !running {
					h.start()
				}
				time.Sleep(time.Minute)
				entries := h.memory.Entries()
				if len(entries) != 2 || string(entries[1].Payload) != "good new" || entries[0].ID == entries[1].ID {
					t.Fatalf("entries %+v", entries)
				}
				in, _ := h.memory.Inspect()
				if in.Origin.Epoch != 1 || in.Origin.Stream == old || len(in.Origin.Lost) != 1 || in.Origin.Lost[0].From.IsZero() {
					t.Errorf("start record %+v", in.Origin)
				}
			})
		})
	}
}

// A process that has not heard that the stream was recreated, while another
// has, writes nothing, and waits until it hears of it.
func TestAProcessOfAnEpochThatIsOverWritesNothing(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.stream.put(s0, "good old")
		p := h.start()
		time.Sleep(time.Minute)
		other := h.memory.Process("another")
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
		h.stream.put(s0, "good late")
		time.Sleep(5 * time.Minute)
		select {
		case <-p.done:
			t.Fatalf("it ended: %v", p.err)
		default:
		}
		if n := len(h.memory.Entries()); n != 1 || p.Status().Trouble == "" {
			t.Errorf("%d entries, trouble %q, before the listing shows the new stream", n, p.Status().Trouble)
		}
		again := newStream(1)
		again.id.Created = next.Stream.Created
		h.stream.change(func() { h.stream.id, h.stream.shards, h.stream.order = again.id, again.shards, again.order })
		h.stream.put(s0, "good new")
		time.Sleep(time.Minute)
		entries := h.memory.Entries()
		if len(entries) != 2 || string(entries[1].Payload) != "good new" || p.Status().Trouble != "" {
			t.Errorf("entries %+v, trouble %q", entries, p.Status().Trouble)
		}
	})
}

func TestAnOlderListingOfARecreatedStreamWritesNothing(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.start(untilCaughtUp).wait(t)
		h.stream.id.Created = h.stream.id.Created.Add(-time.Hour)
		p := h.start()
		time.Sleep(time.Minute)
		in, _ := h.memory.Inspect()
		if in.Origin.Epoch != 0 || p.Status().Trouble == "" {
			t.Errorf("start %+v, trouble %q", in.Origin, p.Status().Trouble)
		}
		h.stream.change(func() { h.stream.id.Created = h.stream.id.Created.Add(time.Hour) })
		time.Sleep(time.Minute)
		if trouble := p.Status().Trouble; trouble != "" {
			t.Errorf("still in trouble: %s", trouble)
		}
	})
}

func TestAGoneShardIsClosedAndItsChildrenBegin(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.stream.put(s0, "good 1")
		h.start(untilCaughtUp).wait(t)
		time.Sleep(time.Minute)
		a, _ := h.stream.split(s0)
		h.stream.put(a, "good 2")
		h.stream.change(func() {
			h.stream.unlisted[s0] = true
			delete(h.stream.shards, s0)
		})
		p := h.start()
		time.Sleep(25 * time.Second)
		if n := len(h.memory.Entries()); n != 1 {
			t.Errorf("%d entries before the shard counts as gone", n)
		}
		time.Sleep(time.Minute)
		if pos := h.position(s0); !pos.Ended || len(pos.Lost) != 1 || pos.Lost[0].Why != "shard gone" {
			t.Errorf("position of the gone shard %+v\n%s", pos, p.log)
		}
		if entries := h.memory.Entries(); len(entries) != 2 || string(entries[1].Payload) != "good 2" {
			t.Errorf("entries %+v", entries)
		}
	})
}

// What cannot pass ends Run; what can is waited out, before the first listing
// as well.
func TestRunEndsOnlyForWhatCannotPass(t *testing.T) {
	for _, tt := range []struct {
		err  error
		ends bool
	}{
		{gs.ErrDenied, true}, {gs.ErrStreamNotFound, true}, {errors.New("connection refused"), false},
	} {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/%v", tt.err, later), func(t *testing.T) {
				inHouse(t, 1, func(t *testing.T, h *house) {
					broken := !later
					h.stream.listErr = func() error {
						if broken {
							return fmt.Errorf("list: %w", tt.err)
						}
						return nil
					}
					p := h.start()
					time.Sleep(40 * time.Second)
					h.stream.change(func() { broken = true })
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
					h.stream.change(func() { broken = false })
					time.Sleep(time.Minute)
					if trouble := p.Status().Trouble; trouble != "" {
						t.Errorf("still in trouble: %s", trouble)
					}
				})
			})
		}
	}
}

// What is still being set up is waited for where that is wanted.
func TestRunWaitsForItsSetup(t *testing.T) {
	for _, missing := range []error{gs.ErrStreamNotFound, gs.ErrUnusable} {
		t.Run(missing.Error(), func(t *testing.T) {
			inHouse(t, 1, func(t *testing.T, h *house) {
				absent := true
				h.stream.listErr = func() error {
					if absent {
						return fmt.Errorf("set up: %w", missing)
					}
					return nil
				}
				h.stream.put(s0, "good 1")
				p := h.start(func(c *consumer.Config) { c.WaitForSetup = true })
				time.Sleep(5 * time.Minute)
				if trouble := p.Status().Trouble; !strings.Contains(trouble, missing.Error()) {
					t.Errorf("trouble %q while it is missing", trouble)
				}
				h.stream.change(func() { absent = false })
				time.Sleep(time.Minute)
				if n := len(h.memory.Entries()); n != 1 || p.Status().Trouble != "" {
					t.Errorf("%d entries, trouble %q once it is there", n, p.Status().Trouble)
				}
			})
		})
	}
}

func TestAnotherStreamIsRefused(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.start(untilCaughtUp).wait(t)
		h.stream.id.ARN += "-other"
		p := h.start()
		<-p.done
		if !errors.Is(p.err, gs.ErrOtherStream) {
			t.Errorf("run: %v", p.err)
		}
	})
}

func TestNewerFormatsAreRefused(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.start(untilCaughtUp).wait(t)
		h.memory.WritePosition(0, s0, []byte(`{"format":99}`))
		p := h.start()
		<-p.done
		if !errors.Is(p.err, gs.ErrNewerFormat) {
			t.Errorf("run: %v", p.err)
		}
	})
}

func TestAFutureStartIsRefused(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		p := h.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{Time: time.Now().Add(time.Hour)} })
		<-p.done
		if !errors.Is(p.err, gs.ErrFutureStart) {
			t.Errorf("run: %v", p.err)
		}
		if _, ok := h.memory.Position(0, s0); ok {
			t.Error("a position was written")
		}
	})
}

// The start record is made once; who comes later uses it.
func TestTheStartIsDecidedOnce(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.stream.put(s0, "good")
		time.Sleep(time.Hour)
		h.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Second)
		p := h.start()
		time.Sleep(time.Minute)
		if n := len(h.memory.Entries()); n != 0 {
			t.Errorf("%d entries from before the start", n)
		}
		if !strings.Contains(p.log.String(), "ignoring --start-at") {
			t.Errorf("nothing said of the start record:\n%s", p.log)
		}
	})
}

func TestUntilCaughtUpWaitsForShardsLedElsewhere(t *testing.T) {
	inHouse(t, 2, func(t *testing.T, h *house) {
		h.start()
		time.Sleep(time.Second)
		h.traffic(s0, 30)
		h.traffic(s1, 30)
		h.start(untilCaughtUp).wait(t)
		h.check()
	})
}

// What another process, or an earlier run, said just before does not count as
// the tip.
func TestUntilCaughtUpReadsWhatCameSinceAnEarlierRun(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.stream.lag = 2 * time.Second
		h.start(untilCaughtUp).wait(t)
		h.stream.put(s0, "good")
		h.start(untilCaughtUp).wait(t)
		h.check()
	})
}

// slowStore takes a second to read the positions.
type slowStore struct{ gs.Store }

func (s slowStore) Positions(ctx context.Context, epoch int) (map[gs.ShardID]gs.Position, error) {
	time.Sleep(time.Second)
	return s.Store.Positions(ctx, epoch)
}

// A shard that ends between the listing and the reading of the positions has
// children that nobody has seen yet.
func TestUntilCaughtUpDoesNotMissChildrenOfAShardThatJustEnded(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		h.traffic(s0, 5)
		p := h.start(untilCaughtUp, func(c *consumer.Config) { c.Store = slowStore{c.Store} })
		time.Sleep(2600 * time.Millisecond)
		a, b := h.stream.split(s0)
		h.traffic(a, 5)
		h.traffic(b, 5)
		p.wait(t)
		h.check()
	})
}

// goneStore is a Store that was taken away; what a process leads in it does not
// notice.
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

// A store that was taken away does not come back: a process that leads nothing
// ends, too.
func TestAStoreThatIsGoneEndsRun(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		var gone atomic.Bool
		p := h.start(func(c *consumer.Config) { c.Store = goneStore{c.Store, &gone} })
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
