package zookeeper_test

import (
	"context"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// deployment is a stream of many shards without records but those of putRecord,
// and the processes that follow it.
type deployment struct {
	consumer.NopObserver
	tb      testing.TB
	server  *peers.Server
	chroot  string
	listing gerritstream.Listing
	poll    time.Duration
	stores  []*zookeeper.Store
	all     []*consumer.Consumer

	mu    sync.Mutex
	put   int                            // under mu: records so far, on each open shard
	pages map[gerritstream.ShardID]int   // under mu: read so far
	lost  map[gerritstream.ShardID]error // under mu: why terms ended that were not resigned
	ended int                            // under mu: terms
}

// TermEnded implements gerritstream.Observer.
func (c *deployment) TermEnded(shard gerritstream.ShardID, _ uint64, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended++
	if cause != nil {
		c.lost[shard] = cause
	}
}

// termsEnded returns how many terms have ended.
func (c *deployment) termsEnded() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// newDeployment makes a stream of open shards and of their closed parents.
func newDeployment(tb testing.TB, ensemble *peers.Ensemble, closed, open int) *deployment {
	tb.Helper()
	c := &deployment{
		tb: tb, server: ensemble.Servers[0], chroot: peers.Chroot(tb, ensemble), poll: 250 * time.Millisecond,
		pages: map[gerritstream.ShardID]int{}, lost: map[gerritstream.ShardID]error{},
	}
	c.listing = gerritstream.Listing{Stream: stream, Retention: 24 * time.Hour}
	for i := range closed + open {
		shard := gerritstream.Shard{ID: gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i)), First: sequence(0)}
		if i < closed {
			shard.Last = sequence(1_000_000)
		} else {
			for parent := i - closed; parent < closed; parent += open {
				shard.Parents = append(shard.Parents, c.listing.Shards[parent].ID)
			}
		}
		c.listing.Shards = append(c.listing.Shards, shard)
	}
	return c
}

// List implements gerritstream.Source.
func (c *deployment) List(context.Context) (gerritstream.Listing, error) {
	l := c.listing
	l.Now = time.Now()
	return l, nil
}

// Read implements gerritstream.Source: what was put, then empty pages at the
// tip, one each poll; or the end of a closed shard.
func (c *deployment) Read(ctx context.Context, shard gerritstream.ShardID,
	from gerritstream.Position) iter.Seq2[gerritstream.Page, error] {
	i := slices.IndexFunc(c.listing.Shards, func(s gerritstream.Shard) bool { return s.ID == shard })
	closed := c.listing.Shards[i].Last != ""
	return func(yield func(gerritstream.Page, error) bool) {
		for next := 1; ; {
			c.mu.Lock()
			c.pages[shard]++
			put := c.put
			c.mu.Unlock()
			batch := gerritstream.Page{Now: time.Now(), End: closed}
			for ; next <= put && !closed; next++ {
				if from.After == "" || sequence(next).Compare(from.After) > 0 {
					batch.Records = append(batch.Records, gerritstream.Record{
						Seq: sequence(next), Sub: gerritstream.NoSub, Last: true, Arrived: time.Now(),
						Data: []byte(`{"type":"ref-updated"}`),
					})
				}
			}
			if !yield(batch, nil) || closed {
				return
			}
			timer := time.NewTimer(c.poll)
			select {
			case <-ctx.Done():
				timer.Stop()
				yield(gerritstream.Page{}, ctx.Err())
				return
			case <-timer.C:
			}
		}
	}
}

// Peek implements gerritstream.Source.
func (c *deployment) Peek(ctx context.Context, shard gerritstream.ShardID,
	from gerritstream.Position) iter.Seq2[gerritstream.Page, error] {
	return c.Read(ctx, shard, from)
}

// putRecord puts a record on each open shard.
func (c *deployment) putRecord() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put++
}

// start runs a process until the test ends.
func (c *deployment) start() {
	c.tb.Helper()
	name := fmt.Sprintf("process-%d", len(c.all))
	store, err := zookeeper.Open(c.tb.Context(), zookeeper.Config{
		Hosts: []string{c.server.Addr()}, Chroot: c.chroot, Connection: connection, Process: name,
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	l, err := consumer.New(consumer.Config{Source: c, Store: store, Process: name, Observer: c})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.stores, c.all = append(c.stores, store), append(c.all, l)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	c.tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.tb.Error(err)
		}
		if err := store.Close(context.Background()); err != nil {
			c.tb.Error(err)
		}
	})
}

// connections matches what the server reports of each connection: how many
// packets it has received, pings included, and the session.
var connections = regexp.MustCompile(`recved=(\d+),sent=\d+,sid=0x([0-9a-f]+)`)

// requests returns how many packets the server has received from the processes.
func (c *deployment) requests() (total int) {
	c.tb.Helper()
	ours := map[string]bool{}
	for _, store := range c.stores {
		id, err := store.Session(soon(c.tb))
		if err != nil {
			c.tb.Fatal(err)
		}
		ours[strconv.FormatUint(uint64(id), 16)] = true //nolint:gosec // its bits are what is meant
	}
	answer, err := c.server.Ask(c.tb.Context(), "cons")
	if err != nil {
		c.tb.Fatal(err)
	}
	for _, found := range connections.FindAllStringSubmatch(answer, -1) {
		if !ours[found[2]] {
			continue
		}
		n, err := strconv.Atoi(found[1])
		if err != nil {
			c.tb.Fatal(err)
		}
		total += n
	}
	return total
}

// calm waits a second and reports whether each process asked little in it.
func (c *deployment) calm() bool {
	before := c.requests()
	<-time.After(time.Second)
	return c.requests()-before < 10*len(c.all)
}

// led returns how many shards are led and at their tips, after this many
// records.
func (c *deployment) led(records int) (led int) {
	for _, l := range c.all {
		for _, s := range l.Status().Shards {
			if s.Term != 0 && s.AtTip && (records == 0 || s.Position.After == sequence(records)) {
				led++
			}
		}
	}
	return led
}

// read returns how many shards have been read.
func (c *deployment) read() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pages)
}

// goal is how many requests a second an idle shard may cost a process.
const goal = 0.1

// An idle deployment asks next to nothing of ZooKeeper, whatever is stored. An
// idle shard is committed every half minute: a commit of each shard, with two
// rounds of planning and two reports, costs at most two thirds of what half a
// minute may cost.
func TestRest(t *testing.T) {
	t.Parallel()
	const shards, processes, endedOnes = 100, 2, 1000
	cl := newCluster(t, single)
	c := newDeployment(t, peers.SharedZooKeeper(t, single), 0, shards)
	cl.chroot = c.chroot
	ended := storekit.EncodePosition(gerritstream.Position{After: sequence(1), Ended: true},
		gerritstream.Stamp{Term: 1})
	cl.put(cl.own("/e0/positions"), nil)
	var create []any
	for i := range endedOnes {
		path := cl.own(fmt.Sprintf("/e0/positions/shardId-%012d", 5000+i))
		create = append(create, &zk.CreateRequest{Path: path, Data: ended, Acl: zk.WorldACL(zk.PermAll)})
	}
	if _, err := cl.raw.Multi(create...); err != nil {
		t.Fatal(err)
	}
	for range processes {
		c.start()
	}
	eventually(t, "all shards are led", func() bool { return c.led(0) == shards })
	const window = 8 * time.Second // two rounds of planning
	var asked int
	var most float64
	for try := 1; try <= 6; try++ { // a stall of the machine costs a window, a regression costs all of them
		eventually(t, "there are only a few requests a second", c.calm)
		before, began, terms := c.requests(), time.Now(), c.termsEnded()
		c.putRecord()
		eventually(t, "all records are committed", func() bool { return c.led(try) == shards })
		<-time.After(time.Until(began.Add(window)))
		asked = c.requests() - before
		most = goal * shards * processes * (20 + max(0, time.Since(began)-window).Seconds())
		moved := c.termsEnded() - terms // by a machine too busy to keep its sessions
		t.Logf("%d requests in %v, at most %.0f are allowed; %d terms ended", asked, time.Since(began), most, moved)
		if float64(asked) <= most && moved == 0 {
			return
		}
	}
	t.Errorf("%d requests, want at most %.0f", asked, most)
}

// Hundreds of closed shards that were never read are read once, and each costs
// what a term costs, however many there are.
func TestManyClosedShards(t *testing.T) {
	t.Parallel()
	const closed, open, processes, each = 300, 4, 2, 25
	c := newDeployment(t, peers.SharedZooKeeper(t, single), closed, open)
	for range processes {
		c.start()
	}
	eventually(t, "all shards have been read", func() bool { return c.led(0) == open })
	asked := c.requests()
	t.Logf("%d requests", asked)
	if most := each * (closed + open) * processes; asked > most {
		t.Errorf("%d requests, want at most %d", asked, most)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for shard, lost := range c.lost {
		t.Errorf("a term of %s was lost: %v", shard, lost)
	}
}

// BenchmarkRest counts the requests of idle processes for a minute, from half a
// minute after their start; it logs what the start took.
func BenchmarkRest(b *testing.B) {
	for _, size := range []struct{ closed, open, processes int }{{0, 100, 1}, {0, 500, 2}, {0, 500, 4}, {1500, 8, 2},
		{5000, 8, 1}} {
		b.Run(fmt.Sprintf("closed=%d/open=%d/processes=%d", size.closed, size.open, size.processes),
			func(b *testing.B) {
				c := newDeployment(b, peers.ZooKeeper(b, peers.ZooKeeperOptions{}), size.closed, size.open)
				began := time.Now()
				for range size.processes {
					c.start()
				}
				most, last, at := 0.0, c.requests(), time.Now()
				wait := func(what string, until func() bool) {
					tick := time.NewTicker(500 * time.Millisecond)
					defer tick.Stop()
					for !until() {
						<-tick.C
						n, now := c.requests(), time.Now()
						most = max(most, float64(n-last)/now.Sub(at).Seconds())
						last, at = n, now
						if time.Since(began) > 5*time.Minute {
							b.Fatalf("not %s after %v: %d of %d were read", what, time.Since(began), c.read(),
								len(c.listing.Shards))
						}
					}
					b.Logf("%s after %.1f s and %d requests, at most %.0f a second", what, time.Since(began).Seconds(),
						last, most)
				}
				wait("read", func() bool { return c.read() == len(c.listing.Shards) })
				wait("led", func() bool { return c.led(0) == size.open })
				led := time.Now()
				wait("at rest", func() bool { return time.Since(led) > 30*time.Second })
				before, from := c.requests(), time.Now()
				for b.Loop() {
					<-time.After(time.Minute)
				}
				rate := float64(c.requests()-before) / time.Since(from).Seconds()
				b.ReportMetric(rate, "requests/s")
				b.ReportMetric(rate/float64((size.open+size.closed)*size.processes), "requests/s/shard/process")
				b.ReportMetric(0, "ns/op")
			})
	}
}
