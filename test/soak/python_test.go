package soak

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// python is the fault of a listener like Zuul's own: it campaigns for a shard
// of ours, whose leader is then stopped or killed, leads for a while, during
// which another fault is injected, and gives the shard back or dies. It took
// effect if it led, and ours led again afterwards.
type python struct {
	n    *nemesis
	z    *zookeeperStore
	runs int
}

const (
	pythonPatience = 20 * time.Second // until a process leads
	pythonTimeout  = 4 * time.Second  // of its session, as of ours
)

func (p *python) fault() fault { return fault{name: pythonFault, weight: 2, do: p.takeTurns} }

const pythonFault = "Python led, and ours again"

func (p *python) takeTurns(ctx context.Context) bool {
	leader, shard := p.led()
	if leader == nil {
		return false
	}
	p.runs++
	process := fmt.Sprintf("python-%d", p.runs)
	listener := peers.StartListener(p.n.s.t, peers.ListenerOptions{
		Kazoo: peers.KazooOptions{Hosts: p.z.ensemble.Hosts(), SessionTimeout: pythonTimeout},
		Root:  root, Shard: string(shard), Stream: streamName, Endpoint: "http://" + p.n.s.stream.addr,
		Process: process, History: filepath.Join(p.n.s.folder, process+".ndjson"),
	})
	defer listener.Kill()
	p.z.awaitCandidate(ctx, shard, process)
	if p.n.s.rng.IntN(2) == 0 {
		leader.kill()
	} else {
		leader.stop()
	}
	p.n.check()
	led, ok := p.await(ctx, process, history.KindForeignElected, shard, time.Time{})
	if !ok {
		return false
	}
	p.meanwhile(ctx, listener)
	return p.ledAgain(ctx, shard, led)
}

// meanwhile lets it lead, or become a zombie, under another fault, and ends its
// leadership.
func (p *python) meanwhile(ctx context.Context, listener *peers.Listener) {
	if pause(ctx, p.n.between(500*time.Millisecond, 3*time.Second)); p.n.s.rng.IntN(3) == 0 {
		listener.Freeze(p.n.s.t)
		pause(ctx, p.z.timeout()+p.n.between(time.Second, 3*time.Second))
		listener.Thaw(p.n.s.t)
		pause(ctx, p.n.between(0, time.Second))
	} else {
		others := slices.DeleteFunc(slices.Clone(p.n.faults), func(f fault) bool { return f.name == pythonFault })
		p.n.do(others[p.n.s.rng.IntN(len(others))])
	}
	if p.n.s.rng.IntN(4) == 0 {
		listener.Kill()
	} else {
		listener.GiveBack(p.n.s.t)
	}
}

// led returns a worker that leads an open shard, and that shard.
func (p *python) led() (*worker, gerritstream.ShardID) {
	open := p.n.s.stream.open()
	for _, i := range p.n.s.rng.Perm(len(p.n.s.workers)) {
		w := p.n.s.workers[i]
		for _, j := range p.n.s.rng.Perm(len(open)) {
			if shard := gerritstream.ShardID(open[j]); w.alive() && w.leadsShard(shard) {
				return w, shard
			}
		}
	}
	return nil, ""
}

// ledAgain waits until one of ours is elected for the shard after a time.
func (p *python) ledAgain(ctx context.Context, shard gerritstream.ShardID, since time.Time) bool {
	_, ok := p.await(ctx, "process-*", history.KindElected, shard, since)
	return ok
}

// await waits for an event of a kind on a shard, after a time, in the histories
// of matching processes, and returns its time.
func (p *python) await(ctx context.Context, names string, kind history.Kind, shard gerritstream.ShardID,
	since time.Time) (at time.Time, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, pythonPatience)
	defer cancel()
	for pause(ctx, 200*time.Millisecond) {
		paths, err := filepath.Glob(filepath.Join(p.n.s.folder, names+".ndjson"))
		if err != nil {
			p.n.s.t.Fatal(err)
		}
		for _, path := range paths {
			for _, e := range eventsOf(path, kind, shard) {
				if e.At.After(since) {
					return e.At, true
				}
			}
		}
	}
	return time.Time{}, false
}

// eventsOf returns the events of a kind on a shard in a file that may still be
// written.
func eventsOf(path string, kind history.Kind, shard gerritstream.ShardID) (events []history.Event) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e history.Event
		if bytes.Contains(lines.Bytes(), []byte(kind)) && json.Unmarshal(lines.Bytes(), &e) == nil && e.Kind == kind &&
			e.Shard == shard {
			events = append(events, e)
		}
	}
	return events
}
