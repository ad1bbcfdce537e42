package history_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
)

// takenTurns is a history without faults of one shard with records 1 to 6: ours
// committed 1 and 2, Python 3 and 4, ours the rest.
func takenTurns() []history.Event {
	e := []history.Event{
		{Kind: history.KindShard},
		{Kind: history.KindPut, Items: ours(1, 2, 3, 4, 5, 6)},
		{Kind: history.KindElected, Process: "a", Term: 1},
		{Kind: history.KindCommitted, Process: "a", Term: 1, Position: after(2), Items: ours(1, 2)},
		{Kind: history.KindForeignElected, Process: "python", Position: after(2)},
		{Kind: history.KindForeignQueues, Process: "python", Items: theirs(3)},
		{Kind: history.KindForeignQueues, Process: "python", Items: theirs(4)},
		{Kind: history.KindForeignWrites, Process: "python", Position: after(4)},
		{Kind: history.KindForeignWrote, Process: "python", Position: after(4)},
		{Kind: history.KindForeignEnded, Process: "python"},
		{Kind: history.KindElected, Process: "a", Term: 2, Position: after(4)},
		{Kind: history.KindCommitted, Process: "a", Term: 2, Position: after(6), Items: ours(5, 6)},
		{Kind: history.KindQueue, Items: slices.Concat(ours(1, 2), inQueue(3, 4), ours(5, 6))},
	}
	for i := range e {
		e[i].Shard, e[i].At = parent, epoch.Add(time.Duration(i)*time.Second)
	}
	return e
}

// The indexes of takenTurns' events.
const (
	put, pythonElected, pythonQueues3, pythonWrites = 1, 4, 5, 7
	pythonWrote, electedAfter, committedAfter       = 8, 10, 11
	turnsQueue                                      = 12
)

func ours(records ...int) (items []history.Item) {
	for _, n := range records {
		items = append(items, item(parent, n, history.Queued))
	}
	return items
}

// theirs are records under Python's ids.
func theirs(records ...int) (items []history.Item) {
	for _, n := range records {
		items = append(items, history.Item{Seq: seq(n), Sub: gerritstream.NoSub, ID: pythonID(n)})
	}
	return items
}

// inQueue are rows of Python's: they do not name their records.
func inQueue(records ...int) (items []history.Item) {
	for _, n := range records {
		items = append(items, history.Item{Sub: gerritstream.NoSub, ID: pythonID(n), Sum: "as Python writes it"})
	}
	return items
}

func pythonID(n int) string { return fmt.Sprintf("python-%d", n) }

func TestCheckTurnsThatWentWell(t *testing.T) {
	r := history.Check(takenTurns())
	if !r.Good() || r.Put != 6 || r.Queued != 6 || r.Foreign == nil ||
		*r.Foreign != (history.Foreign{Terms: 1, Queued: 2}) {
		t.Errorf("%+v, Python %+v", r, r.Foreign)
	}
	if r := history.Check(good()); r.Foreign != nil {
		t.Errorf("Python took part: %+v", r.Foreign)
	}
	if r.LongestPause != 5*time.Second { // ours goes on in second 3, Python in 8, ours in 11
		t.Errorf("longest pause %v", r.LongestPause)
	}
}

// TestCheckTellsPythonsFaultsFromOurs spoils the turns in each way. What Python
// lost and doubled is not charged to us; what we lost and doubled around a term
// of Python's is.
func TestCheckTellsPythonsFaultsFromOurs(t *testing.T) {
	without := func(e []history.Event, ids ...string) { // the queue
		e[turnsQueue].Items = slices.DeleteFunc(e[turnsQueue].Items,
			func(i history.Item) bool { return slices.Contains(ids, i.ID) })
	}
	tests := []struct {
		name       string
		spoil      func(e []history.Event) []history.Event
		lost, dup  int // by us
		broken     int
		unexpected int
		pythonLost int
		pythonDup  int
	}{
		{name: "Python passed over a record", pythonLost: 1, spoil: func(e []history.Event) []history.Event {
			without(e, pythonID(3))
			return slices.Delete(e, pythonQueues3, pythonQueues3+1)
		}},
		{name: "Python passed over a bad record", pythonLost: 1, spoil: func(e []history.Event) []history.Event {
			e[put].Items[2].Outcome = history.DeadLetter
			without(e, pythonID(3))
			return e
		}},
		{name: "Python began at the tip, and we had handled nothing", pythonLost: 3,
			spoil: func(e []history.Event) []history.Event {
				without(e, "shardId-000000000000-1", "shardId-000000000000-2", pythonID(3))
				e[3].Position = &gerritstream.Position{From: gerritstream.StartingPosition{Time: epoch}}
				e[3].Items = nil
				e[pythonElected].Position = nil
				return e
			}},
		{name: "Python's write succeeded and nobody saw it", pythonLost: 1,
			spoil: func(e []history.Event) []history.Event {
				without(e, pythonID(3))
				return slices.Delete(e, pythonWrote, pythonWrote+1)
			}},
		{name: "Python queued and wrote no checkpoint", pythonDup: 2, spoil: func(e []history.Event) []history.Event {
			e[electedAfter].Position = after(2)
			e[committedAfter].Items = ours(3, 4, 5, 6)
			e[turnsQueue].Items = slices.Concat(ours(1, 2), inQueue(3, 4), ours(3, 4, 5, 6))
			return slices.Delete(e, pythonWrites, pythonWrote+1)
		}},
		{name: "Python queued one twice", pythonDup: 1, spoil: func(e []history.Event) []history.Event {
			e[turnsQueue].Items = slices.Concat(ours(1, 2), inQueue(3, 3, 4), ours(5, 6))
			return e
		}},
		{name: "a Python that lost its leadership queued on", pythonDup: 2,
			spoil: func(e []history.Event) []history.Event {
				e[pythonWrote].Kind = history.KindForeignRefused
				e[electedAfter].Position, e[electedAfter].At = after(2), e[pythonElected].At
				e[committedAfter].Items, e[committedAfter].At = ours(3, 4, 5, 6), e[pythonElected].At
				e[turnsQueue].Items = slices.Concat(ours(1, 2, 3, 4, 5, 6), inQueue(3, 4))
				return e
			}},
		{name: "Python queued what is to be filtered", spoil: func(e []history.Event) []history.Event {
			e[put].Items[2].Outcome = history.Filtered
			return e
		}},
		{name: "we lost one behind Python's checkpoint", lost: 1, spoil: func(e []history.Event) []history.Event {
			without(e, "shardId-000000000000-5")
			e[committedAfter].Items = ours(6)
			return e
		}},
		{name: "we jumped over what Python did not come to", lost: 1, spoil: func(e []history.Event) []history.Event {
			without(e, "shardId-000000000000-5")
			e[electedAfter].Position = after(5)
			e[committedAfter].Items = ours(6)
			return e
		}},
		{name: "we lost one before Python", lost: 1, spoil: func(e []history.Event) []history.Event {
			without(e, "shardId-000000000000-2")
			e[3].Items = ours(1)
			return e
		}},
		{name: "what we say we committed is not there, though Python passed it, too", lost: 1,
			spoil: func(e []history.Event) []history.Event {
				without(e, pythonID(3))
				e[3].Items = ours(1, 2, 3)
				return e
			}},
		{name: "Python's write was refused, and we jumped", lost: 1, spoil: func(e []history.Event) []history.Event {
			without(e, pythonID(3))
			e[pythonWrote].Kind = history.KindForeignRefused
			return e
		}},
		{name: "we lost one that we had handled before Python began at the tip", lost: 1, broken: 1,
			spoil: func(e []history.Event) []history.Event {
				without(e, "shardId-000000000000-1")
				e[3].Items = ours(2)
				e[pythonElected].Position = nil
				return e
			}},
		{name: "we did not look at Python's checkpoint", dup: 2, spoil: func(e []history.Event) []history.Event {
			e[electedAfter].Position = after(2)
			e[committedAfter].Items = ours(3, 4, 5, 6)
			e[turnsQueue].Items = slices.Concat(ours(1, 2), inQueue(3, 4), ours(3, 4, 5, 6))
			return e
		}},
		{name: "we doubled one of Python's neighbours", dup: 1, spoil: func(e []history.Event) []history.Event {
			e[turnsQueue].Items = append(e[turnsQueue].Items, ours(6)...)
			return e
		}},
		{name: "we left the checkpoint behind for Python", broken: 1, pythonDup: 1,
			spoil: func(e []history.Event) []history.Event {
				e[pythonElected].Position = after(1)
				e[pythonQueues3].Items = theirs(2, 3)
				e[turnsQueue].Items = slices.Concat(ours(1, 2), inQueue(2, 3, 4), ours(5, 6))
				return e
			}},
		{name: "we went back behind ourselves", broken: 1, dup: 1, spoil: func(e []history.Event) []history.Event {
			e[electedAfter].Position = after(1)
			e[committedAfter].Items = ours(2, 5, 6)
			e[turnsQueue].Items = slices.Concat(ours(1, 2), inQueue(3, 4), ours(2, 5, 6))
			return e
		}},
		{name: "an event that nobody queued", unexpected: 1, spoil: func(e []history.Event) []history.Event {
			e[turnsQueue].Items = append(e[turnsQueue].Items, inQueue(9)...)
			return e
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.spoil(takenTurns())
			slices.SortStableFunc(e, func(a, b history.Event) int { return a.At.Compare(b.At) })
			r := history.Check(e)
			if r.Lost != tt.lost || r.Duplicated != tt.dup || r.Broken != tt.broken || r.Unexpected != tt.unexpected ||
				r.Disordered+r.Misjudged != 0 {
				t.Errorf("ours: %+v", r)
			}
			if r.Foreign.Lost != tt.pythonLost || r.Foreign.Doubled != tt.pythonDup {
				t.Errorf("Python: %+v", *r.Foreign)
			}
		})
	}
}
