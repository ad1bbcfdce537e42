package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// TestZooKeeperIsRestartedNodeByNode under traffic, with a Python candidate
// waiting for each shard: no shard changes hands, and Zuul gets each event
// once.
func TestZooKeeperIsRestartedNodeByNode(t *testing.T) {
	t.Parallel()
	const session = 20 * time.Second
	ensemble := peers.ZooKeeper(t, peers.ZooKeeperOptions{Servers: 3, MaxSessionTimeout: session})
	hosts := ensemble.Hosts() + peers.Chroot(t, ensemble)
	endpoint := emulateWith(t, "--stream", streamName, "--shards", "4")
	file := filepath.Join(t.TempDir(), "history.ndjson")
	p := start(t, intoZooKeeper(endpoint, hosts, "--zookeeper-session-timeout", session.String(), "--history", file)...)
	elections := func() map[gerritstream.ShardID]int {
		n := map[gerritstream.ShardID]int{}
		events, err := history.Read(filepath.Dir(file))
		if err != nil { // a line is being written, or nothing is there yet
			return nil
		}
		for _, e := range events {
			if e.Kind == history.KindElected {
				n[e.Shard]++
			}
		}
		return n
	}
	eventually(t, "all shards are led", func() bool { return len(elections()) == 4 })
	python := peers.StartCandidate(t, peers.KazooOptions{Hosts: hosts, SessionTimeout: session})
	for shard := range elections() {
		python.Campaign(t, zuulRoot+"/election-aws_kinesis_"+string(shard), "zuul01")
	}
	flow := startFlow(t, newTraffic(5),
		peers.Putter{Endpoint: endpoint, Stream: streamName, Batch: 10, Pause: 50 * time.Millisecond})
	for _, server := range ensemble.Servers {
		before := flow.made.Load()
		eventually(t, "traffic flows", func() bool { return flow.made.Load() > before+50 })
		server.Restart(t)
		ensemble.Await(t)
	}
	puts := flow.end(t)

	reader := peers.StartReader(t, peers.KazooOptions{Hosts: hosts}, zuulRoot)
	checkQueue(t, puts, takeAll(t, reader, p, count(puts, gerrittest.Queued), func() {
		for shard, n := range elections() {
			if n != 1 || python.Leads(t, zuulRoot+"/election-aws_kinesis_"+string(shard)) {
				t.Errorf("%s changed hands: %d elections", shard, n)
			}
		}
		python.Stop(t)
	}))
	t.Logf("%d events", len(puts))
}
