package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// minutes is t0 and a number of minutes.
func minutes(n int) time.Time { return t0.Add(time.Duration(n) * time.Minute) }

// showReset renders a plan as "position; again FROM-UNTIL; skipped FROM-UNTIL"
// in minutes.
func showReset(r ResetPlan) string {
	if r.To == nil {
		return "stay: " + r.Why
	}
	clock := func(t time.Time) string {
		if t.IsZero() {
			return "?"
		}
		return fmt.Sprint(t.Sub(t0).Minutes())
	}
	where := "after " + string(r.To.After)
	switch {
	case r.To.After != "":
		where += "@" + clock(r.To.Arrived)
	case r.To.From.TrimHorizon:
		where = "horizon+" + clock(r.To.From.Time)
	default:
		where = "from " + clock(r.To.From.Time)
	}
	if i := r.Again; i != nil {
		where += "; again " + clock(i.From) + ".." + clock(i.Until)
	}
	if i := r.Skipped; i != nil {
		where += "; skipped " + clock(i.From) + ".." + clock(i.Until)
	}
	return where
}

func TestReset(t *testing.T) {
	// By the service's clock it is minute 100, and the stream keeps what
	// arrived from minute -100 on.
	in := ResetInput{Now: minutes(100), Horizon: minutes(-100), Earliest: minutes(-10)}
	lagging := at("500", 50)
	tip := lagging
	tip.CaughtUp = minutes(99).Add(55 * time.Second)
	partial := lagging
	partial.Partial = &gs.Partial{Seq: "501", Sub: 3}
	anchor := gs.Position{From: gs.StartingPosition{Time: minutes(20)}}
	horizon := gs.Position{From: gs.StartingPosition{TrimHorizon: true}}
	bad := gs.Position{Unreadable: gs.ErrBadPosition}
	const done = "stay: it has ended, and was handled to its end"
	for _, tt := range []struct {
		name   string
		target ResetTarget
		stored *gs.Position
		want   string
	}{
		{"back to a time", ResetTarget{Time: minutes(10)}, &lagging, "from 10; again 10..50"},
		{"ahead to a time", ResetTarget{Time: minutes(70)}, &lagging, "from 70; skipped 50..70"},
		{"ahead to a time that was reached in empty pages", ResetTarget{Time: minutes(70)}, &tip,
			"from 70; again 70..99.91666666666667"},
		{"back to a time before what is kept", ResetTarget{Time: minutes(-200)}, &lagging,
			"horizon+50; again -100..50"},
		{"back from an anchor", ResetTarget{Time: minutes(10)}, &anchor, "from 10; again 10..20"},
		{"ahead from an anchor", ResetTarget{Time: minutes(30)}, &anchor, "from 30; skipped 20..30"},
		{"ahead from a trim horizon of which nothing is known", ResetTarget{Time: minutes(30)}, &horizon,
			"from 30; skipped ?..30"},
		{"from a damaged position to a time", ResetTarget{Time: minutes(30)}, &bad, "from 30; skipped ?..30"},
		{"a time for a shard that has not begun", ResetTarget{Time: minutes(30)}, nil, "from 30; skipped -10..30"},
		{"a time before a shard began", ResetTarget{Time: minutes(-30)}, nil, "from -30"},
		{"an ended shard back to a time", ResetTarget{Time: minutes(10)}, new(ended(lagging)), "from 10; again 10..50"},
		{"an ended shard back to its last record", ResetTarget{Time: minutes(50)}, new(ended(lagging)), "from 50"},
		{"an ended shard ahead to a time", ResetTarget{Time: minutes(51)}, new(ended(lagging)),
			"stay: it has ended, and nothing in it arrived then or later"},

		{"latest", ResetTarget{Latest: true}, &lagging, "from 99.83333333333333; skipped 50..99.83333333333333"},
		{"latest at the tip", ResetTarget{Latest: true}, &tip, "stay: it is at the tip already"},
		{"latest of an ended shard", ResetTarget{Latest: true}, new(ended(lagging)), done},
		{"latest from a damaged position", ResetTarget{Latest: true}, &bad,
			"from 99.83333333333333; skipped ?..99.83333333333333"},

		{"trim horizon", ResetTarget{TrimHorizon: true}, &lagging, "horizon+50; again -100..50"},
		{"trim horizon after what is kept was passed over", ResetTarget{TrimHorizon: true}, new(at("500", -150)),
			"horizon+-150"},
		{"trim horizon of a shard that has not begun", ResetTarget{TrimHorizon: true}, nil, "horizon+-10"},
		{"trim horizon of an ended shard", ResetTarget{TrimHorizon: true}, new(ended(lagging)),
			"horizon+50; again -100..50"},
		{"trim horizon of an ended shard that was trimmed", ResetTarget{TrimHorizon: true}, new(ended(at("5", -101))),
			"stay: it has ended, and the stream keeps nothing of it"},

		{"back to after a record", ResetTarget{After: "499"}, &lagging, "after 499@50; again ?..50"},
		{"back to after a record, when caught up", ResetTarget{After: "499"}, &tip,
			"after 499@99.91666666666667; again ?..99.91666666666667"},
		{"after the record that it is after", ResetTarget{After: "500"}, &lagging, "stay: it is there already"},
		{"back to the beginning of an aggregate", ResetTarget{After: "500"}, &partial, "after 500@50; again ?..50"},
		{"ahead to after a record", ResetTarget{After: "1000"}, &lagging, "after 1000@50; skipped 50..100"},
		{"a record from an anchor", ResetTarget{After: "7"}, &anchor, "after 7@20; skipped 20..100"},
		{"a record for a shard that has not begun", ResetTarget{After: "7"}, nil, "after 7@-10; skipped -10..100"},
		{"a record over a damaged position", ResetTarget{After: "7"}, &bad, "after 7@100; skipped ?..100"},
		{"an ended shard back to after a record", ResetTarget{After: "7"}, new(ended(lagging)),
			"after 7@50; again ?..50"},
		{"an ended shard after its last record", ResetTarget{After: lagging.After}, new(ended(lagging)),
			"after " + string(lagging.After) + "@50"},
		{"an ended shard ahead to after a record", ResetTarget{After: "1000"}, new(ended(lagging)), done},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Reset(tt.target, tt.stored, in)
			if got := showReset(r); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			checkReset(t, tt.stored, r)
		})
	}
	in.Arrived = minutes(5)
	if got, want := showReset(Reset(ResetTarget{After: "499"}, &lagging, in)),
		"after 499@50; again 5..50"; got != want {
		t.Errorf("with the record's arrival known: got %s, want %s", got, want)
	}
	in.Arrived = minutes(60)
	if got, want := showReset(Reset(ResetTarget{After: "1000"}, &lagging, in)),
		"after 1000@60; skipped 50..60"; got != want {
		t.Errorf("with the record's arrival known: got %s, want %s", got, want)
	}
}

// checkReset checks what holds of every plan.
func checkReset(t *testing.T, stored *gs.Position, r ResetPlan) {
	t.Helper()
	if (r.To == nil) != (r.Why != "") {
		t.Errorf("a reset to %v has the reason %q", r.To, r.Why)
	}
	if r.To == nil {
		return
	}
	if r.Again != nil && r.Skipped != nil {
		t.Error("it goes back and ahead at once")
	}
	back, _, err := storekit.DecodePosition(storekit.EncodePosition(*r.To, gs.Stamp{}))
	if err != nil {
		t.Fatalf("the position cannot be stored: %v", err)
	}
	if back.Ended || back.Partial != nil || !back.CaughtUp.IsZero() {
		t.Errorf("the position is %+v", back)
	}
	lost := len(r.To.Lost)
	if r.Skipped != nil {
		lost--
		if r.To.Lost[lost] != *r.Skipped || r.Skipped.Why != gs.WhySetByOperator {
			t.Errorf("what is skipped is not recorded last: %+v", r.To.Lost)
		}
	}
	if stored != nil && lost != len(stored.Lost) {
		t.Errorf("intervals that were recorded are forgotten: %+v", r.To.Lost)
	}
}

// FuzzReset: nothing that was not handled is left out without being recorded,
// whatever the position and the target.
func FuzzReset(f *testing.F) {
	for seed := range uint64(32) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 2))
		in := ResetInput{Now: minutes(rng.IntN(100) + 1), Horizon: minutes(-rng.IntN(200))}
		stored := at(gs.SequenceNumber(fmt.Sprint(rng.IntN(1000)+1)), rng.IntN(100)-100)
		if rng.IntN(2) == 0 {
			stored = gs.Position{From: gs.StartingPosition{Time: minutes(rng.IntN(100) - 100)}}
		}
		if rng.IntN(2) == 0 {
			stored.CaughtUp = minutes(rng.IntN(100) - 100)
		}
		stored.Ended = rng.IntN(4) == 0
		stored.Lost = []gs.Interval{{Until: t0, Why: "trimmed"}}
		target := []ResetTarget{
			{After: gs.SequenceNumber(fmt.Sprint(rng.IntN(1000) + 1))}, {TrimHorizon: true}, {Latest: true},
			{Time: minutes(rng.IntN(200) - 199)},
		}[rng.IntN(4)]
		r := Reset(target, &stored, in)
		checkReset(t, &stored, r)
		if r.To == nil {
			return
		}
		handled := stored.HandledUntil()
		passed := r.To.From.Time // nothing before is read, if the position is a time
		if r.To.After != "" && r.To.After.Compare(stored.After) > 0 {
			passed = in.Now
		}
		if !r.To.From.TrimHorizon && handled.Before(passed) &&
			(r.Skipped == nil || !r.Skipped.From.Equal(handled) || r.Skipped.Until.Before(passed)) {
			t.Errorf("%+v from %+v: what arrived from %v to %v is left out, recorded is %+v", target, stored, handled,
				passed, r.Skipped)
		}
		if r.To.From.TrimHorizon && r.To.From.Time.After(handled) {
			t.Errorf("the trim horizon is reached by %v, handled is %v", r.To.From.Time, handled)
		}
	})
}

// Whatever the target, a shard that is open is not left at an end.
func TestResetMovesAnOpenShardFromItsEnd(t *testing.T) {
	stored := ended(at("5", -60))
	for name, target := range map[string]ResetTarget{
		"a record": {After: "5"}, "the trim horizon": {TrimHorizon: true}, "now": {Latest: true},
		"a time": {Time: minutes(-1)},
	} {
		r := Reset(target, &stored, ResetInput{Now: t0, Horizon: minutes(-24 * 60), Open: true})
		if r.To == nil || r.To.Ended || r.Skipped != nil != (target.Latest || !target.Time.IsZero()) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestEarliestArrival(t *testing.T) {
	stored := gs.Stored{Origin: &gs.Origin{From: gs.StartingPosition{Time: minutes(-50)}},
		Positions: map[gs.ShardID]gs.StoredPosition{
			"P": {Position: at("5", 10)}, "Q": {Position: ended(at("9", 5))},
		}}
	listed := []gs.Shard{
		{ID: "P"}, {ID: "Q"}, {ID: "R"}, {ID: "a", Parents: ids{"P"}}, {ID: "b", Parents: ids{"a"}},
		{ID: "m", Parents: ids{"P", "Q"}},
		{ID: "n", Parents: ids{"gone"}}, {ID: "x", Parents: ids{"y"}}, {ID: "y", Parents: ids{"x"}},
	}
	for shard, want := range map[gs.ShardID]int{"R": -50, "a": 10, "b": 10, "m": 5, "n": -50, "x": -50,
		"unknown": -50} {
		if got := EarliestArrival(shard, stored, listed); !got.Equal(minutes(want)) {
			t.Errorf("%s began at %v, want minute %d", shard, got, want)
		}
	}
	if got := EarliestArrival("a", gs.Stored{}, nil); !got.IsZero() {
		t.Errorf("of an empty store: %v", got)
	}
}
