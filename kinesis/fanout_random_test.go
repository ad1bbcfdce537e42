package kinesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// crowd follows a stream as a group of processes does: all of its shards, and
// the children of those that end.
type crowd struct {
	w    *world
	all  map[gerritstream.ShardID]*follower
	slow func(gerritstream.Page)
}

// join starts to follow the shards that are not followed yet.
func (c *crowd) join() {
	shards, err := c.w.srv.Shards("gerrit")
	if err != nil {
		c.w.t.Fatal(err)
	}
	for _, s := range shards {
		if id := gerritstream.ShardID(s.ID); c.all[id] == nil {
			c.all[id] = c.w.followSlowly(id, trimHorizon(), c.slow)
		}
	}
}

// open returns the shards that accept records.
func (c *crowd) open() (ids []string) {
	shards, err := c.w.srv.Shards("gerrit")
	if err != nil {
		c.w.t.Fatal(err)
	}
	for _, s := range shards {
		if s.Open {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// move hands a shard to another process: the reading ends, and another begins
// where it was.
func (c *crowd) move(random *rand.Rand) {
	for id, f := range c.all {
		if random.IntN(3) == 0 || f.isEnded() {
			continue
		}
		f.stop()
		from := f.pos
		if random.IntN(2) == 0 {
			time.Sleep(time.Duration(random.IntN(10)) * time.Second)
		}
		next := c.w.followSlowly(id, from, c.slow)
		next.mu.Lock()
		next.got = append(f.seen(), next.got...)
		next.mu.Unlock()
		c.all[id] = next
		return
	}
}

// Whatever happens, each record of each shard comes once and in order, if those
// are dropped that are covered already. Every claim to be caught up is true:
// see take and checkProof.
func TestFanOutAtRandom(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { fanOutAtRandom(t, seed) })
	}
}

func fanOutAtRandom(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 11))
	opts := kinesistest.Options{EmptyLastPage: seed%2 == 0}
	if seed%3 == 0 {
		opts.ScanSpan = time.Minute
	}
	change := func(c *Config) {
		c.Read, c.Budget = ReadAuto, NewBudget(2<<20)
		if seed%4 == 0 {
			c.Transport = held{c.Transport, time.Duration(random.IntN(5000)) * time.Millisecond}
		}
	}
	inBubble(t, opts, 2, change, func(t *testing.T, w *world) {
		w.budget = w.src.budget
		c := &crowd{w: w, all: map[gerritstream.ShardID]*follower{}}
		if seed%2 == 1 {
			c.slow = func(gerritstream.Page) { time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) }
		}
		n := 0
		put := func() {
			for _, id := range c.open() {
				for range random.IntN(4) {
					n++
					data := fmt.Appendf(nil, "%d %s", n, make([]byte, random.IntN(3000)))
					if _, err := w.srv.PutTo("gerrit", id, fmt.Sprint(n), data); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		itIsUs := kinesistest.Fault{Code: "InternalFailureException", Message: "it is us"}
		faults := []kinesistest.Action{
			kinesistest.CutStream(random.IntN(20)),
			kinesistest.SilenceStream(random.IntN(20)),
			kinesistest.CorruptStream(random.IntN(20)),
			kinesistest.FailStream(random.IntN(20), itIsUs),
			kinesistest.CutReply,
			kinesistest.CutRequest,
			kinesistest.CutBody(int64(random.IntN(9000))),
			kinesistest.Delay(time.Duration(random.IntN(15)) * time.Second),
			kinesistest.Fail("InternalFailure", "oops", 500),
			kinesistest.Fail("AccessDeniedException", "not now", 400),
		}
		for range 900 { // a quarter of an hour or more
			switch random.IntN(60) {
			case 0:
				w.srv.On(kinesistest.Hook{
					Operation: "SubscribeToShard", Times: 1 + random.IntN(2), Do: faults[random.IntN(len(faults))],
				})
			case 1:
				w.fail("GetRecords", 1+random.IntN(5), "InternalFailure", "oops", 500)
			case 2:
				if ids := c.open(); len(ids) < 6 {
					_, _, _ = w.srv.Split("gerrit", ids[random.IntN(len(ids))])
				}
			case 3:
				if ids := c.open(); len(ids) > 1 {
					i := random.IntN(len(ids) - 1)
					_, _ = w.srv.Merge("gerrit", ids[i], ids[i+1]) // refused if they are not adjacent
				}
			case 4:
				c.move(random)
			case 5:
				time.Sleep(time.Duration(random.IntN(60)) * time.Second)
			}
			put()
			c.join()
			time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
		}
		time.Sleep(3 * time.Minute)
		total, again := 0, 0
		for id, f := range c.all {
			f.stop()
			f.want(w.stored(id))
			total, again = total+len(f.got), again+f.again
			if open := slices.Contains(c.open(), string(id)); open == f.ended {
				t.Errorf("%s is open: %t, it ended: %t", id, open, f.ended)
			}
		}
		_, ends := w.standing()
		t.Logf("%d records of %d shards, %d came again; %d polls, %d subscriptions", total, len(c.all), again,
			len(w.sent("GetRecords")), len(ends))
		w.wantFree()
	})
}
