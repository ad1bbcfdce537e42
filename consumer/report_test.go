package consumer_test

import (
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
)

// Each shard that has not ended is in one report: of its leader, of the one it
// is planned for, or, where it waits, of the first of the members. Reports that
// held every shard would be, together, as large as the shards are many times
// the processes.
func TestAShardIsReportedOnce(t *testing.T) {
	const shards, processes = 6, 3
	inCluster(t, shards, func(t *testing.T, cl *cluster) {
		waiting, _ := cl.stream.split(s0)
		// it does not end
		cl.stream.behindBy = func(shard gs.ShardID) (time.Duration, bool) { return time.Hour, shard == s0 }
		cl.stream.split(s1)
		for range processes {
			cl.start()
		}
		time.Sleep(time.Minute)
		in, err := cl.memory.Inspect()
		if err != nil || len(in.Reports) != processes {
			t.Fatalf("%d reports, %v", len(in.Reports), err)
		}
		said := map[gs.ShardID]int{}
		for _, r := range in.Reports {
			for _, s := range r.Status.Shards {
				said[s.Shard]++
				if s.State == gs.StateReading && cl.memory.Leader(s.Shard) != r.Process {
					t.Errorf("%s reports %s, which %s leads", r.Process, s.Shard, cl.memory.Leader(s.Shard))
				}
				if s.Shard == waiting && s.State != gs.StateWaiting {
					t.Errorf("%s is %s", s.Shard, s.State)
				}
			}
		}
		for _, s := range shardIDs(shards + 4) {
			want := 1
			if pos, _ := cl.memory.Position(0, s); pos.Ended {
				want = 0
			}
			if said[s] != want {
				t.Errorf("%s is in %d reports, want %d", s, said[s], want)
			}
		}
		if !cl.position(s1).Ended || said[waiting] != 1 {
			t.Error("no shard has ended, or none waits")
		}
	})
}
