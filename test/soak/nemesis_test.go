package soak

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// fault is something that can go wrong. do injects it, ends it in its time, and
// reports whether it took effect. It returns early when ctx ends.
type fault struct {
	name   string
	class  string // what it counts as in the totals; empty: nothing
	weight int    // how often it comes in each round but the first; 0: once
	do     func(ctx context.Context) (effect bool)
}

// The classes of faults that have a total.
const (
	classKill    = "kills"
	classFreeze  = "freezes"
	classCut     = "cuts"               // links cut and half cut
	classServer  = "zookeeper_restarts" // of one server or two
	classReshard = "reshards"
)

// Refusals as AWS words them.
var (
	expired = kinesistest.Fail("ExpiredIteratorException",
		"Iterator expired. The iterator was created at time x while right now it is y "+
			"which is further in the future than the tolerated delay of 300000 milliseconds.", 400)
	throttled = kinesistest.Fail("ProvisionedThroughputExceededException",
		"Rate exceeded for shard x in stream y under account z.", 400)
)

// nemesis injects one fault at a time, in shuffled rounds, so that each has its
// turn. A round takes about a minute on ZooKeeper, less on SQLite: ten minutes
// make some fifty kills, fifteen freezes and reshards, and more cuts.
type nemesis struct {
	s      *soak
	faults []fault
}

func newNemesis(s *soak) *nemesis {
	n := &nemesis{s: s}
	cut := func(how func(*peers.Link)) func(context.Context) bool {
		return func(ctx context.Context) bool { return n.cut(ctx, how) }
	}
	refuse := func(operation string, times int, with kinesistest.Action) func(context.Context) bool {
		return func(ctx context.Context) bool { return n.refuse(ctx, operation, times, with) }
	}
	n.faults = append([]fault{
		{name: "kill", class: classKill, weight: 6, do: n.kill},
		{name: "stop and start", do: n.restart},
		{name: "freeze", class: classFreeze, weight: 2, do: n.freeze},
		{name: "cut from Kinesis", class: classCut, do: cut((*peers.Link).Cut)},
		{name: "half cut from Kinesis", class: classCut, do: cut(func(l *peers.Link) { l.Hold(peers.Replies) })},
		{name: "slow Kinesis", do: cut(func(l *peers.Link) { l.Delay(700 * time.Millisecond) })},
		{name: "split", class: classReshard, weight: 2, do: n.split},
		{name: "merge", class: classReshard, weight: 2, do: n.merge},
		{name: "expired iterators", do: refuse("GetRecords", 3, expired)},
		{name: "throttling", do: refuse("GetRecords", 20, throttled)},
		{name: "throttled iterators", do: refuse("GetShardIterator", 5, throttled)},
		{name: "server errors", do: refuse("", 10, kinesistest.Fail("InternalFailure", "It failed.", 500))},
		{name: "lost replies of Kinesis", do: refuse("GetRecords", 5, kinesistest.CutReply)},
		{name: "half-broken replies", weight: 2, do: n.garble},
		{name: "a second reader", do: n.readBeside},
		{name: "blocked sink", do: n.blockSink},
		{name: "paused shards", do: n.pauseShards},
	}, s.store.faults(n)...)
	if isPushed() {
		n.faults = append(n.faults, fanOutFaults(n)...)
	}
	if !*flagPython { // whose listener does not notice a recreated stream
		n.faults = append(n.faults, fault{name: "stream deleted and recreated", do: n.recreate})
	}
	return n
}

// run injects faults for a time, each at least once.
func (n *nemesis) run(d time.Duration) {
	ctx, cancel := context.WithTimeout(n.s.t.Context(), max(d, time.Second))
	defer cancel()
	for _, f := range n.faults {
		n.s.faults[f.name] = 0
	}
	list := n.round(0)
	for round := 0; (ctx.Err() == nil || round == 0) && !n.s.t.Failed(); {
		if len(list) == 0 {
			round++
			list = n.round(round)
			continue
		}
		n.do(list[0])
		list = list[1:]
		pause(ctx, n.between(100*time.Millisecond, time.Second))
	}
	// Faults without effect (nothing led, nothing to merge) get more chances.
	for range 5 {
		for _, f := range n.faults {
			if n.s.faults[f.name] == 0 && !n.s.t.Failed() {
				n.do(f)
			}
		}
	}
}

// do injects one fault, and counts it if it took effect.
func (n *nemesis) do(f fault) {
	ctx, done := context.WithTimeout(n.s.t.Context(), 2*time.Minute)
	defer done()
	n.s.log.Add(history.Event{Kind: history.KindFault, Note: f.name})
	if f.do(ctx) {
		n.s.faults[f.name]++
	}
	n.check()
}

// totals sums up, by class, what took effect.
func (n *nemesis) totals() map[string]int {
	totals := map[string]int{}
	for _, f := range n.faults {
		if f.class != "" {
			totals[f.class] += n.s.faults[f.name]
		}
	}
	return totals
}

// round returns the faults of a round, shuffled.
func (n *nemesis) round(number int) (list []fault) {
	for _, f := range n.faults {
		for range max(1, f.weight) {
			list = append(list, f)
			if number == 0 {
				break
			}
		}
	}
	n.s.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (n *nemesis) between(low, high time.Duration) time.Duration {
	return low + time.Duration(n.s.rng.Int64N(int64(high-low)))
}

func (n *nemesis) anyone() *worker { return n.s.workers[n.s.rng.IntN(len(n.s.workers))] }

// leader returns a worker that leads, or any.
func (n *nemesis) leader() *worker {
	for _, i := range n.s.rng.Perm(len(n.s.workers)) {
		if w := n.s.workers[i]; w.alive() && w.leads() {
			return w
		}
	}
	return n.anyone()
}

// check restarts processes that have ended: none should by itself.
func (n *nemesis) check() {
	for _, w := range n.s.workers {
		if !w.alive() {
			w.checkEnd()
			w.start()
		}
	}
}

func (n *nemesis) kill(context.Context) bool {
	w := n.leader()
	effect := w.alive() && w.leads()
	w.kill()
	return effect && w.program.State().Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

func (n *nemesis) restart(context.Context) bool {
	w := n.leader()
	effect := w.alive() && w.leads()
	w.stop()
	return effect
}

// freeze stops a leader for longer than its leadership stands.
func (n *nemesis) freeze(ctx context.Context) bool {
	w := n.leader()
	effect := w.alive() && w.leads()
	w.freeze()
	effect = pause(ctx, n.s.store.timeout()+n.between(time.Second, 2*time.Second)) && effect
	w.thaw()
	return effect
}

// cut does something to a link with Kinesis.
func (n *nemesis) cut(ctx context.Context, how func(*peers.Link)) bool {
	w := n.leader()
	effect := w.alive() && w.leads()
	how(w.kinesis)
	effect = pause(ctx, n.between(500*time.Millisecond, 3*time.Second)) && effect
	w.kinesis.Restore()
	return effect
}

func (n *nemesis) split(context.Context) bool {
	open := n.s.stream.open()
	if len(open) >= maxOpen {
		return false
	}
	_, _, err := n.s.stream.server.Split(streamName, open[n.s.rng.IntN(len(open))])
	n.s.stream.note()
	return err == nil
}

// merge merges any two neighbours.
func (n *nemesis) merge(context.Context) bool {
	open := n.s.stream.open()
	if len(open) <= 2 {
		return false
	}
	for _, i := range n.s.rng.Perm(len(open)) {
		for _, j := range n.s.rng.Perm(len(open)) {
			if i == j {
				continue
			}
			if _, err := n.s.stream.server.Merge(streamName, open[i], open[j]); err == nil {
				n.s.stream.note()
				return true
			}
		}
	}
	return false
}

// refuse has a number of requests of an operation refused, within a few seconds
// of the first. That may take a while: on a busy machine no process reads for
// as long as ZooKeeper takes to come back.
func (n *nemesis) refuse(ctx context.Context, operation string, times int, with kinesistest.Action) bool {
	met := make(chan struct{})
	meets := sync.OnceFunc(func() { close(met) })
	remove := n.s.stream.server.On(kinesistest.Hook{
		Operation: operation, Times: times,
		Do: func(next kinesistest.Handler) kinesistest.Handler {
			meets()
			return with(next)
		},
	})
	defer remove()
	if isPushed() {
		n.deregister(ctx) // so that somebody subscribes, and polls
	}
	if operation == "GetShardIterator" { // they are requested when others have expired
		defer n.s.stream.server.On(kinesistest.Hook{
			Operation: "GetRecords", Times: 2,
			Do: expired,
		})()
	}
	select {
	case <-met:
		return pause(ctx, n.between(time.Second, 2*time.Second))
	case <-time.After(metWithin):
	case <-ctx.Done():
	}
	return false
}

// metWithin is how long a fault of Kinesis waits for a request.
const metWithin = 20 * time.Second

// pause waits, and reports whether ctx has not ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
