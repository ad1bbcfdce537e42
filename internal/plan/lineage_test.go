package plan

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
)

var (
	t0      = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	startAt = gs.StartingPosition{Time: t0}
)

type (
	ids       = []gs.ShardID
	positions = map[gs.ShardID]gs.Position
)

func at(after gs.SequenceNumber, minutes int) gs.Position {
	return gs.Position{After: after, Arrived: t0.Add(time.Duration(minutes) * time.Minute)}
}

func ended(p gs.Position) gs.Position { p.Ended = true; return p }

// show renders a plan as "id:state" with the starting position or the parents
// it waits for.
func show(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		switch s.State {
		case Runnable:
			from := "position"
			if s.From != (gs.StartingPosition{}) {
				from = gs.Position{From: s.From}.String()
			}
			if s.From.TrimHorizon && !s.From.Time.IsZero() {
				from += fmt.Sprintf("+%dm", int(s.From.Time.Sub(t0).Minutes()))
			}
			fmt.Fprintf(&b, "%s:run %s\n", s.Shard, from)
		case Waiting:
			fmt.Fprintf(&b, "%s:wait %v\n", s.Shard, s.WaitFor)
		case Gone:
			fmt.Fprintf(&b, "%s:close\n", s.Shard)
		case Ended:
			fmt.Fprintf(&b, "%s:ended\n", s.Shard)
		}
	}
	return b.String()
}

func TestSteps(t *testing.T) {
	const start = "from 2026-05-01T12:00:00Z"
	split := []gs.Shard{{ID: "P", Last: "9"}, {ID: "a", Parents: ids{"P"}}, {ID: "b", Parents: ids{"P"}}}
	merge := []gs.Shard{{ID: "P", Last: "9"}, {ID: "Q", Last: "9"}, {ID: "c", Parents: ids{"P", "Q"}}}
	for _, tt := range []struct {
		name string
		in   Input
		want string
	}{
		{"nothing listed", Input{}, ""},
		{"a fresh stream starts where the stream does", Input{Shards: []gs.Shard{{ID: "P"}, {ID: "Q"}}},
			"P:run " + start + "\nQ:run " + start + "\n"},
		{"a position is run from", Input{Shards: []gs.Shard{{ID: "P"}}, Positions: positions{"P": at("5", 1)}},
			"P:run position\n"},
		{"an anchor is a position", Input{Shards: []gs.Shard{{ID: "P"}}, Positions: positions{"P": {From: startAt}}},
			"P:run position\n"},
		{"a damaged position is a position",
			Input{Shards: split, Positions: positions{"P": {Unreadable: gs.ErrBadPosition}}},
			"P:run position\na:wait [P]\nb:wait [P]\n"},
		{"a listed parent nobody followed is run first", Input{Shards: split},
			"P:run " + start + "\na:wait [P]\nb:wait [P]\n"},
		{"children wait for a parent that is read", Input{Shards: split, Positions: positions{"P": at("5", 1)}},
			"P:run position\na:wait [P]\nb:wait [P]\n"},
		{"children of an ended parent start at the trim horizon",
			Input{Shards: split, Positions: positions{"P": ended(at("9", 7))}},
			"P:ended\na:run trim horizon+7m\nb:run trim horizon+7m\n"},
		{"a child that runs already is not held up by its parent",
			Input{Shards: split, Positions: positions{"P": at("5", 1), "a": at("12", 9)}},
			"P:run position\na:run position\nb:wait [P]\n"},
		{"a child sent back with its parent waits for it",
			Input{Shards: split, Positions: positions{"P": {From: startAt}, "a": {From: startAt}, "b": at("12", 9)}},
			"P:run position\na:wait [P]\nb:run position\n"},
		{"a child sent back runs from its position once its parent has ended",
			Input{Shards: split, Positions: positions{"P": ended(at("9", 7)), "a": {From: startAt}}},
			"P:ended\na:run position\nb:run trim horizon+7m\n"},
		{"a child that was read in vain has begun",
			Input{Shards: split, Positions: positions{"P": at("5", 1), "a": {From: startAt, CaughtUp: t0}}},
			"P:run position\na:run position\nb:wait [P]\n"},
		{"a merged shard waits for both parents",
			Input{Shards: merge, Positions: positions{"P": ended(at("9", 1)), "Q": at("3", 1)}},
			"P:ended\nQ:run position\nc:wait [Q]\n"},
		{"a merged shard waits for the parent nobody followed",
			Input{Shards: merge, Positions: positions{"P": ended(at("9", 1))}},
			"P:ended\nQ:run " + start + "\nc:wait [Q]\n"},
		{"a merged shard starts after the parent handled least far",
			Input{Shards: merge, Positions: positions{"P": ended(at("9", 8)), "Q": ended(at("9", 3))}},
			"P:ended\nQ:ended\nc:run trim horizon+3m\n"},
		{"a trimmed parent that ended counts as followed",
			Input{Shards: split[1:], Positions: positions{"P": ended(at("9", 2))}},
			"a:run trim horizon+2m\nb:run trim horizon+2m\n"},
		{"a trimmed parent nobody followed does not count", Input{Shards: split[1:]},
			"a:run " + start + "\nb:run " + start + "\n"},
		{"an absent parent with a position is waited for",
			Input{Shards: split[1:], Positions: positions{"P": at("5", 1)}},
			"a:wait [P]\nb:wait [P]\n"},
		{"a gone parent is closed first",
			Input{Shards: split[1:], Gone: map[gs.ShardID]bool{"P": true}, Positions: positions{"P": at("5", 1)}},
			"P:close\na:wait [P]\nb:wait [P]\n"},
		{"a gone shard that ended is done with",
			Input{Gone: map[gs.ShardID]bool{"P": true}, Positions: positions{"P": ended(at("5", 1))}}, ""},
		{"one trimmed parent followed, the other not",
			Input{Shards: merge[2:], Positions: positions{"Q": ended(at("9", 4))}}, "c:run trim horizon+4m\n"},
		{"down for two generations: the grandchild starts with the stream", Input{
			Shards: []gs.Shard{{ID: "g", Parents: ids{"c"}}}, Gone: map[gs.ShardID]bool{"P": true},
			Positions: positions{"P": at("5", 1)},
		}, "P:close\ng:run " + start + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Origin = startAt
			if got := show(Steps(tt.in)); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// FuzzSteps grows a family of shards by random splits and merges, gives random
// shards random positions and trims random ones, and checks what must hold of
// every plan.
func FuzzSteps(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		in := randomInput(rng, int(steps%40))
		plan := Steps(in)
		byID := map[gs.ShardID]Step{}
		for _, s := range plan {
			if _, twice := byID[s.Shard]; twice {
				t.Fatalf("%s is planned twice", s.Shard)
			}
			byID[s.Shard] = s
		}
		listed := map[gs.ShardID]gs.Shard{}
		for _, s := range in.Shards {
			listed[s.ID] = s
		}
		for id, shard := range listed {
			checkStep(t, in, listed, shard, byID[id])
		}
		if len(listed) > 0 && !slices.ContainsFunc(plan, func(s Step) bool { return s.State != Waiting }) {
			absent := slices.ContainsFunc(plan, func(s Step) bool {
				return slices.ContainsFunc(s.WaitFor, func(p gs.ShardID) bool { _, ok := listed[p]; return !ok })
			})
			if !absent {
				t.Errorf("everybody waits:\n%s", show(plan))
			}
		}
		slices.SortFunc(in.Shards, func(a, b gs.Shard) int { return -cmp.Compare(a.ID, b.ID) })
		if again := show(Steps(in)); again != show(plan) {
			t.Errorf("the plan depends on the order of the listing:\n%s\n%s", show(plan), again)
		}
	})
}

// checkStep holds one step against the rules, written the other way round from
// the code.
func checkStep(t *testing.T, in Input, listed map[gs.ShardID]gs.Shard, shard gs.Shard, step Step) {
	t.Helper()
	pos, has := in.Positions[shard.ID]
	open, followed := 0, false
	for _, p := range shard.Parents {
		parent, known := in.Positions[p]
		_, there := listed[p]
		if known && !parent.Ended || there && !known {
			open++
		}
		followed = followed || known && parent.Ended
	}
	var want State
	switch {
	case has && pos.Ended:
		want = Ended
	case open > 0 && (!has || pos.After == ""):
		want = Waiting
	}
	if step.State != want {
		t.Errorf("%s: state %d, want %d", shard.ID, step.State, want)
	}
	if step.State == Waiting && len(step.WaitFor) != open {
		t.Errorf("%s waits for %v, want %d parents", shard.ID, step.WaitFor, open)
	}
	if step.State == Runnable && has && step.From != (gs.StartingPosition{}) {
		t.Errorf("%s has a position and is to start at %+v", shard.ID, step.From)
	}
	if step.State == Runnable && !has {
		if followed != step.From.TrimHorizon {
			t.Errorf("%s starts at %+v, followed %v", shard.ID, step.From, followed)
		}
		if !followed && step.From != in.Origin {
			t.Errorf("%s starts at %+v, not with the stream", shard.ID, step.From)
		}
	}
}

func randomInput(rng *rand.Rand, steps int) Input {
	in := Input{Positions: positions{}, Gone: map[gs.ShardID]bool{}, Origin: startAt}
	next := 0
	add := func(parents ...gs.ShardID) {
		in.Shards = append(in.Shards, gs.Shard{ID: gs.ShardID(fmt.Sprintf("s%03d", next)), Parents: parents})
		next++
	}
	add()
	add()
	for range steps {
		a := rng.IntN(len(in.Shards))
		if b := rng.IntN(len(in.Shards)); rng.IntN(2) == 0 && a != b {
			add(in.Shards[a].ID, in.Shards[b].ID)
			in.Shards[a].Last, in.Shards[b].Last = "9", "9"
		} else {
			add(in.Shards[a].ID)
			add(in.Shards[a].ID)
			in.Shards[a].Last = "9"
		}
	}
	for _, s := range in.Shards {
		switch rng.IntN(5) {
		case 2:
			in.Positions[s.ID] = gs.Position{From: startAt}
		case 0:
			in.Positions[s.ID] = at("5", rng.IntN(60))
		case 1:
			in.Positions[s.ID] = ended(at("9", rng.IntN(60)))
		}
	}
	in.Shards = slices.DeleteFunc(in.Shards, func(s gs.Shard) bool {
		gone := rng.IntN(4) == 0
		in.Gone[s.ID] = gone && rng.IntN(2) == 0
		return gone
	})
	return in
}

func TestAbsencesAreGoneAfterTwoListings30sApart(t *testing.T) {
	now := t0
	a := Absences{}
	known := positions{"P": at("5", 1), "Q": at("5", 1)}
	both := []gs.Shard{{ID: "P"}, {ID: "Q"}}
	look := func(after time.Duration, shards []gs.Shard) map[gs.ShardID]bool {
		now = now.Add(after)
		return a.Note(shards, known, now)
	}
	if gone := look(0, both[:1]); len(gone) != 0 {
		t.Errorf("missing once: gone %v", gone)
	}
	if gone := look(29*time.Second, both[:1]); len(gone) != 0 {
		t.Errorf("missing for 29 s: gone %v", gone)
	}
	look(0, both) // it was there after all
	if gone := look(2*time.Second, both[:1]); len(gone) != 0 {
		t.Errorf("missing again: gone %v", gone)
	}
	if gone := look(30*time.Second, both[:1]); !gone["Q"] || gone["P"] {
		t.Errorf("missing for 30 s: gone %v, want Q alone", gone)
	}
	delete(known, "Q")
	look(0, nil)
	if _, ok := a["Q"]; ok {
		t.Error("a shard without a position is still remembered")
	}
}
