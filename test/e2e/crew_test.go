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

// crew is a number of processes on one ZooKeeper, each with a history.
type crew struct {
	t               *testing.T
	folder          string // of histories
	endpoint, hosts string
	running         []*program
	started         int
}

// join starts a process.
func (c *crew) join() {
	c.started++
	file := filepath.Join(c.folder, string(rune('a'+c.started))+".ndjson")
	c.running = append(c.running, start(c.t, intoZooKeeper(c.endpoint, c.hosts, "--history", file,
		"--zookeeper-session-timeout", "2s")...))
}

// leave ends a process, and waits until it is gone.
func (c *crew) leave(sig syscall.Signal) {
	p := c.running[0]
	c.running = c.running[1:]
	p.signal(c.t, sig)
	p.wait(c.t, patience)
}

// events reads what the processes have written so far.
func (c *crew) events() []history.Event {
	c.t.Helper()
	events, err := history.Read(c.folder)
	if err != nil { // a process writes a line just now, or has not begun
		return nil
	}
	return events
}

// led tells who led last, by shard, as far as the histories say.
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

// balanced waits until all the shards are led, by as many each as the shares say, and returns how long that took and how many
// elections.
func (c *crew) balanced(shards int, shares ...int) (took time.Duration, elections int) {
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

// TestFourProcessesShareThirtyTwoShards on ZooKeeper: each has eight, whoever joins, leaves and dies, and no more shards move than
// must.
func TestFourProcessesShareThirtyTwoShards(t *testing.T) {
	t.Parallel()
	const shards = 32
	endpoint := emulateWith(t, "--stream", streamName, "--shards", "32", "--no-limits")
	c := &crew{t: t, folder: t.TempDir(), endpoint: endpoint, hosts: sharedZooKeeper(t)}
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
	c.join()
	settled("the fourth joins", 8, 8, 8, 8, 8)
	c.leave(syscall.SIGTERM)
	settled("one leaves", 8, 10, 11, 11)
	c.join()
	settled("another joins", 8, 8, 8, 8, 8)
	c.leave(syscall.SIGKILL)
	settled("one is killed", 8, 10, 11, 11)
	c.join()
	settled("another joins", 8, 8, 8, 8, 8)
	c.leave(syscall.SIGTERM)
	settled("one leaves", 8, 10, 11, 11)
	c.join()
	settled("another joins", 8, 8, 8, 8, 8)
	logHandOvers(t, c.events())
	for len(c.running) > 0 {
		c.leave(syscall.SIGTERM)
	}
}

// logHandOvers tells how long it took, when a shard was given up for another process, from the old leader's last word to the new one's
// first page.
func logHandOvers(t *testing.T, events []history.Event) {
	t.Helper()
	ended := map[gerritstream.ShardID]time.Time{}
	var took []time.Duration
	for _, e := range events {
		switch e.Kind {
		case history.KindTermEnded:
			ended[e.Shard] = e.At
		case history.KindRead:
			if at, ok := ended[e.Shard]; ok {
				took = append(took, e.At.Sub(at))
				delete(ended, e.Shard)
			}
		}
	}
	slices.Sort(took)
	if len(took) < 24 {
		t.Errorf("%d hand-overs", len(took))
		return
	}
	t.Logf("%d hand-overs: median %v, 99th of 100 %v, longest %v", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}
