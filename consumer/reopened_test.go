package consumer_test

import (
	"strings"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// A shard that ended here and is open in two listings half a minute apart,
// without children, is a finding, in log and status, until its position is set:
// then what came since is read. One that ends as shards do is none.
func TestAShardThatEndedAndIsOpenIsFound(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, cl *cluster) {
		cl.start()
		p := cl.start()
		cl.stream.put(s0, "good 1")
		cl.stream.put(s1, "good 1")
		time.Sleep(time.Minute)
		cl.stream.split(s1) // as shards end
		pos := cl.position(s0)
		pos.Ended = true // by a reply that was wrong
		cl.memory.WritePosition(0, s0, storekit.EncodePosition(pos, gs.Stamp{}))
		cl.memory.ExpireLeadership(s0)
		time.Sleep(10 * time.Second)
		cl.stream.split("shardId-000000000002") // which has them list once more, soon
		time.Sleep(10 * time.Second)
		cl.stream.put(s0, "good 2")
		if s := p.shardOf(t, s0); s.State != gs.StateEnded || s.OpenAfterEnd {
			t.Errorf("after 20 s: %+v", s)
		}
		time.Sleep(2 * time.Minute)
		for _, p := range cl.processes {
			if s := p.shardOf(t, s0); !s.OpenAfterEnd {
				t.Errorf("%s does not see it: %+v", p.Status().Process, s)
			}
			if s := p.shardOf(t, s1); s.OpenAfterEnd || s.State != gs.StateEnded {
				t.Errorf("%s sees one that ended as it should: %+v", p.Status().Process, s)
			}
			if n := strings.Count(p.log.String(), "ended shards are open in the stream"); n != 1 {
				t.Errorf("logged %d times", n)
			}
		}
		if !reported(t, cl, s0) {
			t.Error("no report tells of it: status does not know")
		}
		if move := cl.send(s0, plan.ResetTarget{After: pos.After}); move.To == nil || move.Again != nil ||
			move.Skipped != nil {
			t.Fatalf("it cannot be mended: %+v", move)
		}
		time.Sleep(2 * time.Minute)
		cl.check()
		if s := p.shardOf(t, s0); s.OpenAfterEnd || s.State == gs.StateEnded {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

// reported tells whether what the store shows of the processes' reports says
// that a shard is open after its end.
func reported(t *testing.T, cl *cluster, shard gs.ShardID) (found bool) {
	t.Helper()
	in, err := cl.memory.Inspect()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range in.Reports {
		for _, s := range r.Status.Shards {
			found = found || s.Shard == shard && s.OpenAfterEnd
		}
	}
	return found
}
