package consumer_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/storetest"
)

// chaos puts records on a stream and makes everything go wrong for those who
// read it. Fields without a note belong to the test's goroutine.
type chaos struct {
	k       *kinesisCluster
	random  *rand.Rand
	running [3]*process
	all     []*process
	put     []history.Item
	queued  int // items of put that are to be queued or to become dead letters
	turn    int

	mu     sync.Mutex
	dice   *rand.Rand           // under mu: of hooks
	asked  int                  // under mu: reshards in the middle of a request for a subscription
	broken []kinesistest.Action // under mu: for the next subscriptions that stand, one each
	torn   []storetest.Fault    // under mu: for the next commits that end within an aggregate, one each
}

// Fifty thousand events go through four shards, which are split and merged,
// also while a subscription is being asked for. Subscriptions are renewed every
// five minutes, expire and break in every way. Processes end, die between any
// two writes, and lose their leadership. Each event is queued once and in
// order.
func TestFanOutCarriesFiftyThousandEvents(t *testing.T) {
	events := 50_000
	if underRace {
		events = 6000
	}
	inPushedCluster(t, 4, func(t *testing.T, k *kinesisCluster) {
		k.budget = kinesis.NewBudget(4 << 20)
		c := &chaos{k: k, random: rand.New(rand.NewPCG(1, 50)), dice: rand.New(rand.NewPCG(2, 50))}
		k.server.On(kinesistest.Hook{Operation: "SubscribeToShard", Do: c.subscribe})
		k.server.On(kinesistest.Hook{Do: c.delay})
		k.memory.SetHook(c.write)
		began := time.Now()
		for i := range c.running {
			c.start(i)
		}
		calm := false
		for step := 0; len(c.put) < events; step++ {
			// A quarter of the time is calm, so that subscriptions grow old.
			was := calm
			calm = time.Since(began)%(40*time.Minute) > 30*time.Minute
			if calm && !was {
				c.refuseRenewals()
			}
			if !calm && step%4 == 0 {
				c.fault()
			}
			c.putSome()
			time.Sleep(time.Duration(c.random.IntN(10_000)) * time.Millisecond)
		}
		c.settle()
		took := time.Since(began).Round(time.Second)
		for _, p := range c.running {
			p.end()
		}
		ends, shards := c.ends(), c.judge()
		t.Logf("%d records of %d shards in %s, %d processes, %d reshards within a request; subscriptions: %v",
			len(c.put), shards, took, len(c.all), c.asked, ends)
		broken := ends["Network"] + ends["Timeout"] + ends["Corrupt"] + ends["InternalFailureException"]
		if !underRace && (ends["Renewed"] < 20 || ends["Expired"] < 2 || broken < 25 || c.asked < 8 ||
			len(c.all) < 25 || shards < 30) {
			t.Error("too little went wrong")
		}
	})
}

// start starts a process, in place of one that is gone.
func (c *chaos) start(i int) {
	c.running[i] = c.k.start()
	c.all = append(c.all, c.running[i])
}

// open returns the shards that accept records.
func (c *chaos) open() (open []gs.ShardID) {
	c.k.t.Helper()
	shards, err := c.k.server.Shards(streamName)
	c.k.must(err)
	for _, s := range shards {
		if s.Open {
			open = append(open, gs.ShardID(s.ID))
		}
	}
	return open
}

// putSome puts a few records on each open shard.
func (c *chaos) putSome() {
	for _, shard := range c.open() {
		for range c.random.IntN(9) {
			n := len(c.put)
			kind := "good"
			switch c.random.IntN(50) {
			case 0:
				kind = "bad"
			case 1, 2:
				kind = "drop"
			case 3, 4, 5, 6:
				c.putAggregate(shard)
				continue
			}
			c.store(shard, fmt.Sprintf("%s %d", kind, n))
		}
	}
}

// putAggregate puts more in one record than a commit carries.
func (c *chaos) putAggregate(shard gs.ShardID) {
	var parts []string
	var records []kinesistest.UserRecord
	for i := range 2 + c.random.IntN(8) {
		parts = append(parts, fmt.Sprintf("good %d, part %d", len(c.put), i))
		records = append(records, kinesistest.UserRecord{PartitionKey: "k", Data: []byte(parts[i])})
	}
	seq, ok := c.accept(shard, kinesistest.Aggregate(records...))
	for i := range parts {
		if ok {
			c.note(putItem(shard, seq, i, parts[i]))
		}
	}
}

func (c *chaos) store(shard gs.ShardID, data string) {
	if seq, ok := c.accept(shard, []byte(data)); ok {
		c.note(putItem(shard, seq, gs.NoSub, data))
	}
}

// accept puts a record on a shard, unless that was closed a moment ago.
func (c *chaos) accept(shard gs.ShardID, data []byte) (gs.SequenceNumber, bool) {
	seq, err := c.k.server.PutTo(streamName, string(shard), "k", data)
	return gs.SequenceNumber(seq), err == nil
}

func (c *chaos) note(item history.Item) {
	c.put = append(c.put, item)
	if item.Outcome != history.Filtered {
		c.queued++
	}
}

// delay lets each reply take a while, and throttles one poll in four, as if
// others read the stream too. So now a poll and now a subscription is first.
func (c *chaos) delay(next kinesistest.Handler) kinesistest.Handler {
	throttle := kinesistest.Fail("ProvisionedThroughputExceededException", "Rate exceeded for shard", 0)
	return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
		c.mu.Lock()
		d, throttled := time.Duration(c.dice.IntN(200))*time.Millisecond, c.dice.IntN(4) == 0
		c.mu.Unlock()
		if r.Operation == "GetRecords" && throttled {
			return throttle(next)(ctx, r)
		}
		return kinesistest.Delay(d)(next)(ctx, r)
	}
}

// subscribe is in the way of each request for a subscription. Some shards are
// split or merged just before the subscription stands, or before its reader
// hears that it does, and subscriptions suffer the faults that wait for them.
func (c *chaos) subscribe(next kinesistest.Handler) kinesistest.Handler {
	return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
		c.mu.Lock()
		before, after, merge := c.dice.IntN(30) == 0, c.dice.IntN(15) == 0, c.dice.IntN(2) == 0
		c.mu.Unlock()
		if before {
			c.reshardNow(r, merge)
		}
		reply, err := next(ctx, r)
		if err != nil || reply.Status != http.StatusOK {
			return reply, err
		}
		if after {
			c.reshardNow(r, merge)
		}
		if do := c.takeFault(); do != nil {
			answer := func(context.Context, *kinesistest.Request) (*kinesistest.Reply, error) { return reply, nil }
			return do(answer)(ctx, r)
		}
		return reply, err
	}
}

func (c *chaos) reshardNow(r *kinesistest.Request, merge bool) {
	if c.reshard(gs.ShardID(r.Shard), merge) {
		c.mu.Lock()
		c.asked++
		c.mu.Unlock()
	}
}

// write is in the way of each write to the store.
func (c *chaos) write(w storetest.Write) storetest.Fault {
	if w.Commit == nil || w.Commit.Position.Partial == nil {
		return storetest.NoFault
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.torn) == 0 {
		return storetest.NoFault
	}
	f := c.torn[0]
	c.torn = c.torn[1:]
	return f
}

// takeFault returns the fault of the next subscription; nil: none.
func (c *chaos) takeFault() kinesistest.Action {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.broken) == 0 {
		return nil
	}
	do := c.broken[0]
	c.broken = c.broken[1:]
	return do
}

// reshard splits a shard, or merges it with a neighbour. It reports whether
// that was possible, with four to six shards left.
func (c *chaos) reshard(shard gs.ShardID, merge bool) bool {
	open := c.open()
	if !merge && len(open) < 6 {
		_, _, err := c.k.server.Split(streamName, string(shard))
		return err == nil
	}
	for _, other := range open {
		if len(open) <= 4 {
			break
		}
		if _, err := c.k.server.Merge(streamName, string(shard), string(other)); err == nil {
			return true
		}
	}
	return false
}

// fault makes one thing go wrong, each in its turn.
func (c *chaos) fault() {
	r, k := c.random, c.k
	fail := func(operation string, d time.Duration, do kinesistest.Action) {
		time.AfterFunc(d, k.server.On(kinesistest.Hook{Operation: operation, Do: do}))
	}
	stream := func(do kinesistest.Action) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.broken = append(c.broken, do)
	}
	open := c.open()
	shard, i := open[r.IntN(len(open))], r.IntN(len(c.running))
	internal := kinesistest.Fault{Code: "InternalFailureException", Message: "oops"}
	points := []storetest.Fault{
		storetest.Refuse, storetest.ApplyButError, storetest.RetryLater, storetest.CrashBefore, storetest.CrashAfter,
	}
	faults := []func(){
		func() { stream(kinesistest.CutStream(r.IntN(20))) },
		func() { stream(kinesistest.SilenceStream(r.IntN(20))) },
		func() { stream(kinesistest.CorruptStream(r.IntN(20))) },
		func() { stream(kinesistest.FailStream(r.IntN(20), internal)) },
		func() { stream(kinesistest.CutBody(int64(r.IntN(30_000)))) },
		func() { stream(kinesistest.CutReply) },
		func() { stream(kinesistest.Delay(time.Duration(r.IntN(15)) * time.Second)) },
		func() {
			fail("SubscribeToShard", 45*time.Second, kinesistest.Fail("LimitExceededException", "Rate exceeded", 0))
		},
		func() { fail("GetRecords", 30*time.Second, kinesistest.Fail("InternalFailure", "oops", 500)) },
		func() { c.reshard(shard, r.IntN(2) == 0) },
		func() { k.memory.ExpireLeadership(shard) },
		func() { k.memory.ExpireQuietly(shard) },
		func() { k.memory.FailNext(storetest.PointCommit, points[r.IntN(len(points))]) },
		func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.torn = append(c.torn, points[r.IntN(len(points))], storetest.ApplyButError)
		},
		func() { c.running[i].kill() },
		func() { c.running[i].end() },
	}
	faults[c.turn%len(faults)]()
	c.turn++
	for i, p := range c.running {
		select {
		case <-p.done:
			c.start(i)
		default:
		}
	}
}

// refuseRenewals has the subscriptions to two shards expire.
func (c *chaos) refuseRenewals() {
	for _, shard := range c.open()[:2] {
		time.AfterFunc(8*time.Minute, c.k.server.On(kinesistest.Hook{
			Operation: "SubscribeToShard", Do: kinesistest.Fail("LimitExceededException", "Rate exceeded", 0),
			Match: func(r *kinesistest.Request) bool { return r.Shard == string(shard) },
		}))
	}
}

// settle waits until everything is handled.
func (c *chaos) settle() {
	c.k.t.Helper()
	for range 120 {
		time.Sleep(5 * time.Second)
		if len(c.k.memory.Entries())+len(c.k.memory.DeadLetters()) >= c.queued {
			return
		}
	}
	c.k.t.Errorf("ten minutes after the last record not all are queued:\n%s", c.running[0].log)
}

// ends counts how subscriptions have ended.
func (c *chaos) ends() map[string]int {
	c.k.t.Helper()
	ends := map[string]int{}
	for _, p := range c.all {
		rec := httptest.NewRecorder()
		p.metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		body, err := io.ReadAll(rec.Body)
		c.k.must(err)
		for line := range strings.Lines(string(body)) {
			rest, ok := strings.CutPrefix(line, "gerritstream_kinesis_subscription_ends_total{reason=")
			if !ok {
				continue
			}
			var reason string
			var n int
			_, err := fmt.Sscanf(rest, "%q} %d", &reason, &n)
			c.k.must(err)
			ends[reason] += n
		}
	}
	return ends
}

// judge compares what is in the store with what was put, and returns how many
// shards there were.
func (c *chaos) judge() int {
	c.k.t.Helper()
	shards, err := c.k.server.Shards(streamName)
	c.k.must(err)
	var events []history.Event
	for _, s := range shards {
		e := history.Event{Kind: history.KindShard, Shard: gs.ShardID(s.ID)}
		for _, parent := range s.Parents {
			e.Parents = append(e.Parents, gs.ShardID(parent))
		}
		events = append(events, e)
	}
	c.k.judge(append(events, history.Event{Kind: history.KindPut, Items: c.put}))
	if lost := c.k.reported(); len(lost) > 0 {
		c.k.t.Errorf("reported as lost: %v", lost)
	}
	return len(shards)
}
