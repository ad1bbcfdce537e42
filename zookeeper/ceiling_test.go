package zookeeper_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// BenchmarkCeiling has events of 2.1 KB queued by a Store, and in turns by a
// bare client that does the least that could do it: each of its writers has one
// transaction after the other carried out, with the same nodes. An iteration is
// a round of both, and the ratio is the median of theirs. The queue is emptied
// between rounds, which does not count.
func BenchmarkCeiling(b *testing.B) {
	for _, each := range []int{1, 10, 100} {
		for _, shards := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("events=%d/shards=%d", each, shards),
				func(b *testing.B) { newCeiling(b, each, shards).measure() })
		}
	}
}

// ceiling is a pair of writers to one server.
type ceiling struct {
	b      *testing.B
	each   int // events of a commit
	shards int
	server *peers.Server
	chroot string
	raw    *zk.Conn
	terms  []gerritstream.Term
	batch  [][]gerritstream.Entry
	nodes  [][][]byte // the same as the bare client writes them
	n      int        // commits so far
}

func newCeiling(b *testing.B, each, shards int) *ceiling {
	b.Helper()
	ensemble := peers.SharedZooKeeper(b, peers.ZooKeeperOptions{})
	hosts := strings.Split(ensemble.Hosts(), ",")
	c := &ceiling{b: b, each: each, shards: shards, server: ensemble.Servers[0], chroot: peers.Chroot(b, ensemble)}
	store, err := zookeeper.Open(b.Context(), zookeeper.Config{
		Hosts: hosts, Chroot: c.chroot, Connection: connection, QueueLimit: -1,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close(b.Context()) })
	if err := store.SetOrigin(b.Context(), nil, gerritstream.Origin{Stream: stream}); err != nil {
		b.Fatal(err)
	}
	c.raw, _, err = zk.Connect(hosts, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.raw.Close)
	for i := range shards {
		shard := gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i))
		c.terms = append(c.terms, elect(b, store, shard))
		var entries []gerritstream.Entry
		for n := range each {
			entries = append(entries, event(shard, n, 2100))
		}
		c.batch, c.nodes = append(c.batch, entries), append(c.nodes, envelopes(entries))
		for _, kind := range []string{"lock", "position", "checkpoint"} {
			if _, err := c.raw.Create(c.bare(kind, i), nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
				b.Fatal(err)
			}
		}
	}
	return c
}

func (c *ceiling) bare(kind string, shard int) string {
	return fmt.Sprintf("%s/bare-%s-%012d", c.chroot, kind, shard)
}

func (c *ceiling) queue() string {
	return c.chroot + "/zuul/events/connection/" + connection + "/events/queue"
}

// roundEvents is about how many events a side queues in a round.
const roundEvents = 4_000

func (c *ceiling) measure() {
	commits := max(1, roundEvents/c.each/c.shards)
	sides := []*side{{name: "raw", write: c.bareCommit}, {name: "store", write: c.storeCommit}}
	raw, store := sides[0], sides[1]
	var ratios []float64
	for c.b.Loop() {
		slices.Reverse(sides)
		rawBefore, storeBefore := raw.took, store.took
		for _, s := range sides {
			s.round(c, commits)
			c.empty()
		}
		ratios = append(ratios, (raw.took-rawBefore).Seconds()/(store.took-storeBefore).Seconds())
	}
	slices.Sort(ratios)
	for _, s := range sides {
		c.b.ReportMetric(float64(s.events)/s.took.Seconds(), s.name+"-events/s")
		c.b.ReportMetric(float64(s.cpu.Microseconds())/float64(s.events), s.name+"-cpu-us/event")
		c.b.ReportMetric(float64(s.server.Microseconds())/float64(s.events), s.name+"-server-us/event")
	}
	c.b.ReportMetric(ratios[len(ratios)/2], "ratio")
}

// side is one of the two, and what it took so far.
type side struct {
	name   string
	write  func(shard, n int) error
	events int
	took   time.Duration
	cpu    time.Duration // of this process
	server time.Duration // processor time of the server
}

func (s *side) round(c *ceiling, commits int) {
	cpu, server, began := processTime(), c.server.ProcessTime(c.b), time.Now()
	var all sync.WaitGroup
	for shard := range c.shards {
		all.Go(func() {
			for n := range commits {
				if err := s.write(shard, c.n+n); err != nil {
					c.b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	s.took += time.Since(began)
	s.cpu += processTime() - cpu
	s.server += c.server.ProcessTime(c.b) - server
	s.events += commits * c.each * c.shards
	c.n += commits
}

func (c *ceiling) storeCommit(shard, n int) error {
	return c.terms[shard].Commit(c.b.Context(), gerritstream.Commit{Position: after(n + 1), Entries: c.batch[shard]})
}

func (c *ceiling) bareCommit(shard, n int) error {
	position := fmt.Appendf(nil, `{"checkpoint": "%s"}`, sequence(n))
	ops := []any{
		&zk.CheckVersionRequest{Path: c.bare("lock", shard), Version: -1},
		&zk.SetDataRequest{Path: c.bare("position", shard), Data: position, Version: -1},
		&zk.SetDataRequest{Path: c.bare("checkpoint", shard), Data: position, Version: -1},
	}
	for _, data := range c.nodes[shard] {
		ops = append(ops, &zk.CreateRequest{
			Path: c.queue() + "/q", Data: data, Acl: zk.WorldACL(zk.PermAll), Flags: zk.FlagSequence,
		})
	}
	_, err := c.raw.Multi(ops...)
	return err
}

// envelopes returns nodes of Zuul's queue, as long as those that a Store makes.
func envelopes(entries []gerritstream.Entry) (nodes [][]byte) {
	for i := range entries {
		nodes = append(nodes, fmt.Appendf(nil, `{"event_data": {"payload": %s, "span_context": null, `+
			`"timestamp": 1700000000.123, "zuul_event_id": "%x"}}`, entries[i].Payload, entries[i].ID))
	}
	return nodes
}

// empty deletes what is queued.
func (c *ceiling) empty() {
	names, _, err := c.raw.Children(c.queue())
	if err != nil {
		c.b.Fatal(err)
	}
	for some := range slices.Chunk(names, 1000) {
		ops := make([]any, len(some))
		for i, name := range some {
			ops[i] = &zk.DeleteRequest{Path: c.queue() + "/" + name, Version: -1}
		}
		if _, err := c.raw.Multi(ops...); err != nil {
			c.b.Fatal(err)
		}
	}
}

// processTime is the processor time of this process.
func processTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it fails for bad arguments only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
