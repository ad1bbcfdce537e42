package e2e

import (
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
)

// groupSession is the session timeout of a process.
const groupSession = 2 * time.Second

// group is a number of processes on one ZooKeeper, each with a history.
type group struct {
	t               *testing.T
	folder          string // of histories
	endpoint, hosts string
	running         []*program
	started         int
}

// join starts a process.
func (c *group) join() {
	c.started++
	file := filepath.Join(c.folder, string(rune('a'+c.started))+".ndjson")
	c.running = append(c.running, start(c.t, intoZooKeeper(c.endpoint, c.hosts, "--history", file,
		"--zookeeper-session-timeout", groupSession.String())...))
}

// leave ends a process and waits for its end.
func (c *group) leave(sig syscall.Signal) {
	p := c.running[0]
	c.running = c.running[1:]
	p.signal(c.t, sig)
	p.wait(c.t, patience)
}

// events reads what the processes have written so far.
func (c *group) events() []history.Event {
	c.t.Helper()
	events, err := history.Read(c.folder)
	if err != nil { // a process is writing a line, or has not begun
		return nil
	}
	return events
}

// led returns the last leader of each shard, according to the histories.
func led(events []history.Event) map[gerritstream.ShardID]string {
	leaders := map[gerritstream.ShardID]string{}
	for _, e := range events {
		switch {
		case e.Kind == history.KindElected:
			leaders[e.Shard] = e.Process
		case e.Kind == history.KindTermEnded && leaders[e.Shard] == e.Process:
			delete(leaders, e.Shard)
		}
	}
	return leaders
}

// balanced waits until all shards are led, with the given numbers for each
// process, and returns how long that took and how many elections.
func (c *group) balanced(shards int, shares ...int) (took time.Duration, elections int) {
	c.t.Helper()
	began := time.Now()
	eventually(c.t, "the shards are shared", func() bool {
		counts := map[string]int{}
		leaders := led(c.events())
		for _, p := range leaders {
			counts[p]++
		}
		var got []int
		for _, n := range counts {
			got = append(got, n)
		}
		slices.Sort(got)
		return len(leaders) == shards && slices.Equal(got, shares)
	})
	for _, e := range c.events() {
		if e.Kind == history.KindElected && e.At.After(began) {
			elections++
		}
	}
	return time.Since(began), elections
}

// TestFourProcessesShareThirtyTwoShards on ZooKeeper: each has eight, as
// processes join, leave and die, and no more shards move than must.
func TestFourProcessesShareThirtyTwoShards(t *testing.T) { //nolint:paralleltest // it measures short sessions
	const shards = 32
	endpoint := emulateWith(t, "--stream", streamName, "--shards", "32", "--no-limits")
	c := &group{t: t, folder: t.TempDir(), endpoint: endpoint, hosts: sharedZooKeeper(t)}
	for range 3 {
		c.join()
	}
	c.balanced(shards, 10, 11, 11)
	settled := func(what string, moves int, shares ...int) {
		t.Helper()
		took, elections := c.balanced(shards, shares...)
		t.Logf("%s: even within %v, %d elections", what, took.Round(time.Millisecond), elections)
		if elections > moves {
			t.Errorf("%s: %d elections, where %d shards had to move", what, elections, moves)
		}
	}
	var handOffs []time.Duration
	joins := func() {
		t.Helper()
		before := len(c.events())
		c.join()
		settled("another joins", 8, 8, 8, 8, 8)
		handOffs = append(handOffs, c.handOffs(before)...)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGTERM,
		syscall.SIGTERM, syscall.SIGTERM} {
		joins()
		before, ended := len(c.events()), time.Now()
		c.leave(sig)
		settled(sig.String()+" for one", 8, 10, 11, 11)
		if sig == syscall.SIGKILL {
			t.Logf("the last shard of the killed one was read %v after that; its session timeout was %v",
				c.lastTakeover(before, 8).Sub(ended), groupSession)
		}
	}
	joins()
	slices.Sort(handOffs)
	n := len(handOffs)
	if n < 50 {
		t.Fatalf("%d planned hand-offs", n)
	}
	t.Logf("%d planned hand-offs, from the end of the old term to the first page of the new one: "+
		"median %v, 99th of 100 %v, longest %v",
		n, handOffs[n/2], handOffs[n*99/100], handOffs[n-1])
	for len(c.running) > 0 {
		c.leave(syscall.SIGTERM)
	}
}

// handOffs returns how long each hand-off took, after a number of events: from
// the end of the old leader's term to the new leader's first page, for which it
// waits.
func (c *group) handOffs(after int) (took []time.Duration) {
	c.t.Helper()
	eventually(c.t, "the new leaders have read", func() bool {
		ended := map[gerritstream.ShardID]time.Time{}
		took = nil
		events := c.events()
		for _, e := range events[min(after, len(events)):] {
			at, given := ended[e.Shard]
			switch {
			case e.Kind == history.KindTermEnded:
				ended[e.Shard] = e.At
			case e.Kind == history.KindRead && given:
				took = append(took, e.At.Sub(at))
				delete(ended, e.Shard)
			}
		}
		return len(took) > 0 && len(ended) == 0
	})
	return took
}

// lastTakeover waits until a number of shards that changed hands, after a
// number of events, have been read, and returns when the last of them was.
func (c *group) lastTakeover(after, shards int) (at time.Time) {
	c.t.Helper()
	eventually(c.t, "the new leaders have read", func() bool {
		read := map[gerritstream.ShardID]time.Time{} // zero: elected and not read yet
		at = time.Time{}
		events := c.events()
		for _, e := range events[min(after, len(events)):] {
			first, elected := read[e.Shard]
			switch {
			case e.Kind == history.KindElected:
				read[e.Shard] = time.Time{}
			case e.Kind == history.KindRead && elected && first.IsZero():
				read[e.Shard] = e.At
			}
		}
		for _, first := range read {
			if first.IsZero() {
				return false
			}
			if first.After(at) {
				at = first
			}
		}
		return len(read) == shards
	})
	return at
}
