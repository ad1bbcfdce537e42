package consumer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/storetest"
)

// reset moves a shard's position, as `checkpoint set` does.
func (cl *cluster) reset(shard gs.ShardID, target plan.ResetTarget) (move plan.ResetPlan) {
	cl.t.Helper()
	listing, err := cl.stream.List(cl.t.Context())
	if err != nil {
		cl.t.Fatal(err)
	}
	moment := plan.ResetInput{Now: listing.Now, Horizon: listing.Now.Add(-listing.Retention)}
	change := func(stored *gs.StoredPosition) (gs.Position, error) {
		var from *gs.Position
		if stored != nil {
			from = &stored.Position
		}
		if move = plan.Reset(target, from, moment); move.To == nil {
			return gs.Position{}, fmt.Errorf("nothing to change: %s", move.Why)
		}
		return *move.To, nil
	}
	if err := cl.memory.Operator().SetPosition(cl.t.Context(), 0, shard, change); err != nil {
		cl.t.Fatal(err)
	}
	return move
}

// puts puts the records "first" to "last" on a shard and returns their sequence
// numbers.
func (cl *cluster) puts(shard gs.ShardID, first, last int) (seqs []gs.SequenceNumber) {
	for i := first; i <= last; i++ {
		cl.stream.put(shard, fmt.Sprintf("good %d", i))
		cl.stream.change(func() {
			records := cl.stream.shards[shard].records
			seqs = append(seqs, records[len(records)-1].Seq)
		})
	}
	return seqs
}

// numbers returns the numbers of the queued records of a shard, in their order.
func (cl *cluster) numbers(shard gs.ShardID) string {
	var numbers []string
	for _, e := range cl.memory.Entries() {
		if e.Shard == shard {
			numbers = append(numbers, strings.TrimPrefix(string(e.Payload), "good "))
		}
	}
	return strings.Join(numbers, " ")
}

func (cl *cluster) wantNumbers(shard gs.ShardID, want string) {
	cl.t.Helper()
	if got := cl.numbers(shard); got != want {
		cl.t.Errorf("queued of %s\n%s\nwant\n%s", shard, got, want)
	}
}

// A position that is set back while processes run takes effect at once: the
// records after it are queued again, each once, in order, and later ones
// follow.
func TestSetBackWhileRunning(t *testing.T) {
	for name, target := range map[string]func(seqs []gs.SequenceNumber, third time.Time) plan.ResetTarget{
		"after a record": func(seqs []gs.SequenceNumber, _ time.Time) plan.ResetTarget {
			return plan.ResetTarget{After: seqs[2]}
		},
		"to a time": func(_ []gs.SequenceNumber, third time.Time) plan.ResetTarget {
			return plan.ResetTarget{Time: third.Add(time.Second)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 2, func(t *testing.T, cl *cluster) {
				cl.start()
				cl.start()
				seqs := cl.puts(s0, 1, 3)
				third := time.Now()
				time.Sleep(time.Minute)
				cl.puts(s0, 4, 9)
				cl.puts(s1, 1, 3)
				time.Sleep(time.Minute)
				move := cl.reset(s0, target(seqs, third))
				time.Sleep(2 * time.Second)
				cl.puts(s0, 10, 11)
				time.Sleep(2 * time.Second)
				cl.wantNumbers(s0, "1 2 3 4 5 6 7 8 9 4 5 6 7 8 9 10 11")
				cl.wantNumbers(s1, "1 2 3")
				if move.Again == nil || move.Skipped != nil || len(cl.position(s0).Lost) != 0 {
					t.Errorf("the move is %+v, recorded as lost is %+v", move, cl.position(s0).Lost)
				}
			})
		})
	}
}

// A position that is set ahead while a process lags: the records between are
// not queued, and are recorded.
func TestSetAheadWhileRunning(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.puts(s0, 1, 2)
		p := cl.start()
		time.Sleep(time.Minute)
		cl.stream.change(func() {
			cl.stream.readErr = func(gs.ShardID, gs.Position) error {
				return fmt.Errorf("throttled: %w", gs.ErrRetrying)
			}
		})
		seqs := cl.puts(s0, 3, 9)
		time.Sleep(time.Minute)
		move := cl.reset(s0, plan.ResetTarget{After: seqs[4]})
		cl.stream.change(func() { cl.stream.readErr = nil })
		time.Sleep(2 * time.Second)
		cl.puts(s0, 10, 10)
		time.Sleep(2 * time.Second)
		cl.wantNumbers(s0, "1 2 8 9 10")
		lost := cl.position(s0).Lost
		if move.Skipped == nil || len(lost) != 1 || !lost[0].From.Equal(move.Skipped.From) ||
			!lost[0].Until.Equal(move.Skipped.Until) || lost[0].Why != gs.WhySetByOperator {
			t.Errorf("recorded as lost is %+v, skipped was %+v", lost, move.Skipped)
		}
		if status := p.Status(); status.Shards[0].Trouble != "" || len(status.Shards[0].Position.Lost) != 1 {
			t.Errorf("the status is %+v", status.Shards[0])
		}
	})
}

// A position is set while a commit is in flight, at each of the first commits:
// that commit counts for nothing, and the queue holds what it held before, and
// everything after the position.
func TestSetBackUnderACommit(t *testing.T) {
	for nth := range 6 {
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				seqs := cl.puts(s0, 1, 20) // five commits
				commits, at := 0, ""
				cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
					if w.Point == storetest.PointCommit {
						if commits == nth {
							at = cl.numbers(s0)
							cl.reset(s0, plan.ResetTarget{After: seqs[1]})
						}
						commits++
					}
					return storetest.NoFault
				})
				p := cl.start()
				time.Sleep(time.Minute)
				p.stop()
				<-p.done // the hook is not called any more
				want := strings.TrimSpace(at + " 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20")
				cl.wantNumbers(s0, want)
				if commits <= nth {
					t.Errorf("only %d commits", commits)
				}
			})
		})
	}
}

// A shard that has ended is read again by running processes.
func TestSetBackAnEndedShard(t *testing.T) {
	inCluster(t, 1, func(_ *testing.T, cl *cluster) {
		cl.start()
		seqs := cl.puts(s0, 1, 4)
		a, _ := cl.stream.split(s0)
		cl.puts(a, 11, 12)
		time.Sleep(time.Minute)
		cl.reset(s0, plan.ResetTarget{After: seqs[1]})
		time.Sleep(time.Minute)
		cl.wantNumbers(s0, "1 2 3 4 3 4")
		cl.wantNumbers(a, "11 12")
		if !cl.position(s0).Ended {
			cl.t.Error("it did not end again")
		}
	})
}

// A family that is set back to a time is read again in its order: children
// after their parents.
func TestSetBackAFamilyKeepsItsOrder(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.start()
		cl.start()
		cl.puts(s0, 1, 2)
		time.Sleep(time.Minute)
		since := time.Now()
		cl.puts(s0, 3, 22)
		cl.puts(s1, 101, 102)
		time.Sleep(time.Minute)
		a, b := cl.stream.split(s0)
		cl.puts(a, 31, 33)
		cl.puts(b, 41, 43)
		time.Sleep(time.Minute)
		c := cl.stream.merge(a, s1)
		cl.puts(c, 51, 53)
		time.Sleep(time.Minute)
		cl.check()
		before := len(cl.memory.Entries())

		// A slow reading shows which children do not wait.
		cl.stream.change(func() { cl.stream.pageSize = 1 })
		for _, shard := range []gs.ShardID{s0, s1, a, b, c} {
			cl.reset(shard, plan.ResetTarget{Time: since})
		}
		time.Sleep(10 * time.Minute)
		cl.wantNumbers(a, "31 32 33 31 32 33")
		cl.wantNumbers(b, "41 42 43 41 42 43")
		cl.wantNumbers(c, "51 52 53 51 52 53")
		var again []gs.ShardID
		for _, e := range cl.memory.Entries()[before:] {
			again = append(again, e.Shard)
		}
		if n := len(again); n != 20+2+3+3+3 {
			t.Errorf("%d records were queued again", n)
		}
		last := func(shard gs.ShardID) int { return len(again) - 1 - slices.Index(reversed(again), shard) }
		for child, parents := range map[gs.ShardID][]gs.ShardID{a: {s0}, b: {s0}, c: {a, s1}} {
			for _, parent := range parents {
				if slices.Index(again, child) < last(parent) {
					t.Errorf("%s was read before its parent %s was done", child, parent)
				}
			}
		}
	})
}

func reversed(s []gs.ShardID) []gs.ShardID {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

// A shard that is halted by its checkpoint goes on from the position that the
// operator sets.
func TestSetWhileHalted(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		seqs := cl.puts(s0, 1, 5)
		cl.memory.WritePosition(0, s0, []byte("garbage"))
		p := cl.start(func(c *consumer.Config) { c.OnBadCheckpoint = consumer.BadCheckpointHalt })
		time.Sleep(time.Hour)
		if state := p.Status().Shards[0].State; state != gs.StateHalted {
			t.Fatalf("the shard is %s", state)
		}
		cl.reset(s0, plan.ResetTarget{After: seqs[2]})
		time.Sleep(2 * time.Second)
		cl.wantNumbers(s0, "4 5")
		if state := p.Status().Shards[0].State; state != gs.StateReading {
			t.Errorf("the shard is %s", state)
		}
	})
}

// Setting the position back to the beginning of the stream reports no loss:
// what was trimmed meanwhile had been handled.
func TestSetBackReportsNoLoss(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.stepBack = 0 // a step back would reach into what is trimmed
		cl.stream.retention = 2 * time.Hour
		cl.start()
		cl.puts(s0, 1, 2)
		time.Sleep(3 * time.Hour) // these are trimmed
		seqs := cl.puts(s0, 3, 4)
		time.Sleep(time.Hour)
		for _, target := range []plan.ResetTarget{
			{TrimHorizon: true}, {Time: time.Now().Add(-4 * time.Hour)}, {After: "1"}, {After: seqs[0]},
		} {
			cl.reset(s0, target)
			time.Sleep(time.Minute)
		}
		cl.wantNumbers(s0, "1 2 3 4 3 4 3 4 3 4 4")
		if lost := cl.position(s0).Lost; len(lost) != 0 {
			t.Errorf("recorded as lost is %+v", lost)
		}
	})
}
