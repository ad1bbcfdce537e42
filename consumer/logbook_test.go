package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/kinesis"
)

// fail makes the reads of a shard fail for which fails returns true, given
// their number; each has a text of its own.
func (s *stream) fail(fails func(n int, shard gs.ShardID) bool) {
	requests := map[gs.ShardID]int{}
	s.change(func() {
		s.readErr = func(shard gs.ShardID, _ gs.Position) error {
			requests[shard]++
			if n := requests[shard]; fails(n, shard) {
				return fmt.Errorf("%w: read %s: server fault (request %d)", gs.ErrRetrying, shard, n)
			}
			return nil
		}
	})
}

// Half of the requests fail, on many shards: the log has a line at the
// beginning, one a minute with counts, and one at the end. Nothing stalls, and
// nothing is called trouble.
func TestHalfOfTheRequestsFail(t *testing.T) {
	inCluster(t, 20, func(t *testing.T, cl *cluster) {
		cl.level, cl.stream.pollEvery = slog.LevelInfo, time.Second
		p := cl.start()
		time.Sleep(time.Minute)
		cl.stream.fail(func(n int, _ gs.ShardID) bool { return n%2 == 0 })
		for range 60 {
			time.Sleep(5 * time.Second)
			if s := p.Status(); len(trouble.Of(&s)) > 0 {
				t.Fatalf("trouble where there is none: %v", trouble.Of(&s))
			}
		}
		cl.stream.change(func() { cl.stream.readErr = nil })
		time.Sleep(2 * time.Minute)
		lines := p.logged("server fault")
		if n := len(lines); n < 6 || n > 8 {
			t.Fatalf("%d lines in five minutes:\n%s", n, strings.Join(lines, ""))
		}
		first, second, last := lines[0], lines[1], lines[len(lines)-1]
		_, count, _ := strings.Cut(second, "times=")
		times := 0
		_, _ = fmt.Sscan(count, &times)
		if !strings.Contains(first, "shard stalled") || !strings.Contains(last, "shard resumed") ||
			!strings.Contains(second, `shardId-000000000002 and 17 more"`) || times < 500 || times > 700 {
			t.Errorf("%d times, got\n%s", times, strings.Join(lines, ""))
		}
		if strings.Contains(strings.Join(lines, ""), "WARN") {
			t.Errorf("a warning without trouble:\n%s", strings.Join(lines, ""))
		}
	})
}

// Nothing can be read: one cause is one line for all shards, in the status and
// in the log. Trouble that may pass counts once it lasts.
func TestOneCauseIsOneLineForAllShards(t *testing.T) {
	inCluster(t, 200, func(t *testing.T, cl *cluster) {
		cl.level, cl.stream.pollEvery = slog.LevelInfo, 2*time.Second
		p := cl.start()
		time.Sleep(time.Minute)
		cl.stream.fail(func(int, gs.ShardID) bool { return true })
		time.Sleep(20 * time.Second)
		s := p.Status()
		if found := trouble.Of(&s); len(found) > 0 {
			t.Errorf("it counts after 20 s: %v", found)
		}
		time.Sleep(20 * time.Second)
		s = p.Status()
		found := trouble.Of(&s)
		if len(found) != 1 || len(found[0].Of) != 200 || !strings.Contains(found[0].Text, "server fault") {
			t.Fatalf("%d troubles: %v", len(found), found)
		}
		if line := found[0].String(); !strings.HasPrefix(line,
			"shardId-000000000000, shardId-000000000001, shardId-000000000002 and 197 more: ") {
			t.Errorf("got %s", line)
		}
		time.Sleep(2 * time.Minute)
		cl.stream.change(func() { cl.stream.readErr = nil })
		time.Sleep(40 * time.Second)
		lines := p.logged("server fault")
		if n := len(lines); n < 4 || n > 6 || !strings.Contains(lines[0], "level=INFO") ||
			!strings.Contains(lines[1], "level=WARN") ||
			!strings.Contains(lines[n-1], "shard resumed") {
			t.Errorf("%d lines in three minutes:\n%s", n, strings.Join(lines, ""))
		}
		if s = p.Status(); len(trouble.Of(&s)) > 0 {
			t.Errorf("still in trouble: %v", trouble.Of(&s))
		}
	})
}

// Trouble that will not pass by itself counts at once; so does trouble with a
// growing lag, although pages come.
func TestTroubleThatCountsAtOnce(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		p := cl.start()
		time.Sleep(time.Minute)
		cl.stream.change(func() {
			cl.stream.readErr = func(shard gs.ShardID, _ gs.Position) error {
				if shard == s0 {
					return fmt.Errorf("%w: %w", gs.ErrRetrying, gs.ErrDenied)
				}
				return nil
			}
		})
		time.Sleep(time.Second)
		if s := p.Status(); s.Shards[0].Trouble == "" || s.Shards[1].Trouble != "" {
			t.Errorf("got %q and %q", s.Shards[0].Trouble, s.Shards[1].Trouble)
		}
		cl.stream.fail(func(n int, shard gs.ShardID) bool { return shard == s1 && n%2 == 0 })
		began := time.Now()
		cl.stream.change(func() {
			cl.stream.lagsBy = func(shard gs.ShardID) (time.Duration, bool) { return time.Since(began), shard == s1 }
		})
		time.Sleep(20 * time.Second)
		if s := p.Status(); s.Shards[1].Trouble != "" {
			t.Errorf("it counts after 20 s: %q", s.Shards[1].Trouble)
		}
		time.Sleep(20 * time.Second)
		for range 20 { // after pages and after failures
			time.Sleep(100 * time.Millisecond)
			if s := p.Status(); s.Shards[0].Trouble != "" || !strings.Contains(s.Shards[1].Trouble, "server fault") {
				t.Fatalf("got %q and %q", s.Shards[0].Trouble, s.Shards[1].Trouble)
			}
		}
		cl.stream.change(func() { cl.stream.readErr = nil }) // it still lags, without any trouble
		time.Sleep(20 * time.Second)
		if s := p.Status(); s.Shards[1].Trouble != "" {
			t.Errorf("still %q", s.Shards[1].Trouble)
		}
	})
}

// Listings that fail now and then, and leaderships that end together, are a
// line each.
func TestListingsAndTermsAreLoggedOnce(t *testing.T) {
	inCluster(t, 50, func(t *testing.T, cl *cluster) {
		cl.level, cl.stream.pollEvery = slog.LevelInfo, 2*time.Second
		p := cl.start()
		time.Sleep(time.Minute + time.Second) // between two polls: no commit is in flight
		for _, shard := range shardIDs(50) {
			cl.memory.ExpireLeadership(shard)
		}
		time.Sleep(5 * time.Minute)
		if lines := p.logged("leaderships ended"); len(lines) != 1 || !strings.Contains(lines[0], "times=50") {
			t.Errorf("got\n%s", strings.Join(lines, ""))
		}
		var lists atomic.Int64
		cl.stream.change(func() {
			cl.stream.listErr = func() error {
				if n := lists.Add(1); n%2 == 0 {
					return fmt.Errorf("list: no route (request %d)", n)
				}
				return nil
			}
		})
		time.Sleep(10 * time.Minute)
		if lines := p.logged("no route"); len(lines) < 2 || len(lines) > 12 {
			t.Errorf("%d lines in ten minutes:\n%s", len(lines), strings.Join(lines, ""))
		}
		if s := p.Status(); s.Trouble != "" {
			t.Errorf("trouble where there is none: %s", s.Trouble)
		}
		cl.stream.change(func() { cl.stream.listErr = func() error { return errors.New("no route") } })
		time.Sleep(2 * time.Minute)
		if s := p.Status(); s.Trouble == "" {
			t.Error("no listing for a minute, and no trouble")
		}
	})
}

// Two consumers of one stream throttle each other for ever while both are at
// its tip: that is normal. The process stays ready, there is no trouble, and
// the log has a line a minute.
func TestASecondReaderIsNoTrouble(t *testing.T) {
	atTheTip(t, func(t *testing.T, k *kinesisCluster) {
		ctx, cancel := context.WithCancel(t.Context())
		var neighbours sync.WaitGroup
		defer neighbours.Wait()
		defer cancel()
		for range 2 { // another program takes more than its share
			neighbour := sourceOf(t, k.server, kinesis.Config{PollInterval: 200 * time.Millisecond})
			neighbours.Go(func() {
				for batch, err := range neighbour.Read(ctx, s0,
					gs.Position{From: gs.StartingPosition{Time: time.Now().Add(-time.Minute)}}) {
					if batch.Done != nil {
						batch.Done()
					}
					if err != nil && !errors.Is(err, gs.ErrRetrying) {
						return
					}
				}
			})
		}
		refused := &refusals{}
		source := sourceOf(t, k.server, kinesis.Config{PollInterval: 250 * time.Millisecond, Observer: refused})
		p := k.start(func(c *consumer.Config) { c.Source = source })
		time.Sleep(20 * time.Second)
		for i := range 240 {
			time.Sleep(500 * time.Millisecond)
			if i%20 == 0 {
				k.put(s0, fmt.Sprintf("good %d", i))
			}
			if s := p.Status(); len(trouble.Of(&s)) > 0 || s.Listed.IsZero() {
				t.Fatalf("trouble where there is none: %v", trouble.Of(&s))
			}
		}
		if lines := p.logged("Rate exceeded"); refused.n.Load() < 5 || len(lines) > 4 ||
			strings.Contains(strings.Join(lines, ""), "WARN") {
			t.Errorf("refused %d times; %d lines in two minutes:\n%s", refused.n.Load(), len(lines),
				strings.Join(lines, ""))
		}
		time.Sleep(5 * time.Second)
		k.check(kept)
	})
}

// refusals counts the requests that the service throttles.
type refusals struct{ n atomic.Int64 }

func (r *refusals) Request(_, code string, _ time.Duration) {
	if code == "ProvisionedThroughputExceededException" {
		r.n.Add(1)
	}
}

func (r *refusals) ReplyBytes(int) {}

func (r *refusals) SubscriptionBegan() {}

func (r *refusals) SubscriptionEnded(string) {}

func (r *refusals) ClockSkew(time.Duration) {}

// A producer's wrong encoding makes every record a dead letter: that is a line
// in the log with a count and a sample, and a burst in the status until valid
// records come again. A bad record now and then is no burst.
func TestABurstOfDeadLettersIsLoggedOnce(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		put := func(n int, as string) {
			for i := range n {
				cl.stream.put(s0, fmt.Sprintf("%s %d", as, i))
			}
			time.Sleep(2 * time.Minute)
		}
		p := cl.start()
		burst := func() bool { return trouble.DeadLetterBurst(p.Status().DeadRate, time.Now()) != "" }
		put(9, "bad")
		if burst() {
			t.Errorf("nine are a burst: %+v", p.Status().DeadRate)
		}
		put(300, "good")
		if rate := p.Status().DeadRate; burst() || rate.Records != 200 || rate.Dead > 9 {
			t.Errorf("nine of three hundred are a burst: %+v", rate)
		}
		put(700, "bad")
		rate := p.Status().DeadRate
		if !burst() || rate.Dead < 190 || !strings.Contains(trouble.DeadLetterBurst(rate, time.Now()),
			"of the last 200 records became dead letters: test: it says so") {
			t.Errorf("no burst: %+v", rate)
		}
		put(20, "good")
		if !burst() {
			t.Errorf("over after twenty: %+v", p.Status().DeadRate)
		}
		time.Sleep(time.Hour)
		if burst() {
			t.Error("still a burst, an hour later")
		}
		put(30, "bad")
		put(2000, "good")
		if burst() {
			t.Errorf("a burst after thousands of valid records: %+v", p.Status().DeadRate)
		}
		lines := p.logged("records dead-lettered")
		if n := len(lines); n < 3 || n > 5 {
			t.Fatalf("%d lines:\n%s", n, strings.Join(lines, ""))
		}
		for _, want := range []string{"level=INFO", "shards=" + string(s0), "times=9", "reason=test",
			`detail="it says so"`, "seq="} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("%q is missing in %s", want, lines[0])
			}
		}
		if !strings.Contains(lines[1], "level=WARN") {
			t.Errorf("a burst is no warning: %s", lines[1])
		}
	})
}

// A leader that is stopped while it lists the stream logs no trouble.
func TestAStopWhileListingIsNoTrouble(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		lists, stop := 0, func() {}
		cl.stream.listErr = func() error {
			if lists++; lists == 2 { // the leader's own listing
				stop()
				time.Sleep(time.Millisecond) // as long as a request takes to notice
				return context.Canceled
			}
			return nil
		}
		cl.stream.mu.Lock() // nothing is listed until stop is set
		p := cl.start()
		stop = p.stop
		cl.stream.mu.Unlock()
		p.wait(t)
		if log := p.log.String(); lists != 2 || strings.Contains(log, "WARN") {
			t.Errorf("listed %d times, log:\n%s", lists, log)
		}
	})
}
