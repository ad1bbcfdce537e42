package gerritstream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// minutes is t0 and so many minutes.
func minutes(n int) time.Time { return t0.Add(time.Duration(n) * time.Minute) }

// showMove renders a move as "position; again FROM-UNTIL; skipped FROM-UNTIL"
// in minutes.
func showMove(m Move) string {
	if m.To == nil {
		return "stay: " + m.Why
	}
	clock := func(t time.Time) string {
		if t.IsZero() {
			return "?"
		}
		return fmt.Sprint(t.Sub(t0).Minutes())
	}
	where := "after " + string(m.To.After)
	switch {
	case m.To.After != "":
		where += "@" + clock(m.To.Arrived)
	case m.To.From.TrimHorizon:
		where = "horizon+" + clock(m.To.From.Time)
	default:
		where = "from " + clock(m.To.From.Time)
	}
	if i := m.Again; i != nil {
		where += "; again " + clock(i.From) + ".." + clock(i.Until)
	}
	if i := m.Skipped; i != nil {
		where += "; skipped " + clock(i.From) + ".." + clock(i.Until)
	}
	return where
}

func TestMove(t *testing.T) {
	// By the service's clock it is minute 100, and the stream keeps what
	// arrived from minute -100 on.
	moment := Moment{Now: minutes(100), Horizon: minutes(-100), Began: minutes(-10)}
	behind := at("500", 50)
	tip := behind
	tip.CaughtUp = minutes(99).Add(55 * time.Second)
	partial := behind
	partial.Partial = &Partial{Seq: "501", Sub: 3}
	anchor := Position{From: StartPoint{Time: minutes(20)}}
	horizon := Position{From: StartPoint{TrimHorizon: true}}
	bad := Position{Unreadable: ErrBadPosition}
	const done = "stay: it has ended, and was handled to its end"
	for _, tt := range []struct {
		name   string
		aim    Aim
		stored *Position
		want   string
	}{
		{"back to a time", Aim{Time: minutes(10)}, &behind, "from 10; again 10..50"},
		{"ahead to a time", Aim{Time: minutes(70)}, &behind, "from 70; skipped 50..70"},
		{"ahead to a time that was reached in empty pages", Aim{Time: minutes(70)}, &tip, "from 70; again 70..99.91666666666667"},
		{"back to a time before what is kept", Aim{Time: minutes(-200)}, &behind, "horizon+50; again -100..50"},
		{"back from an anchor", Aim{Time: minutes(10)}, &anchor, "from 10; again 10..20"},
		{"ahead from an anchor", Aim{Time: minutes(30)}, &anchor, "from 30; skipped 20..30"},
		{"ahead from a trim horizon of which nothing is known", Aim{Time: minutes(30)}, &horizon, "from 30; skipped ?..30"},
		{"from a damaged position to a time", Aim{Time: minutes(30)}, &bad, "from 30; skipped ?..30"},
		{"a time for a shard that has not begun", Aim{Time: minutes(30)}, nil, "from 30; skipped -10..30"},
		{"a time before a shard began", Aim{Time: minutes(-30)}, nil, "from -30"},
		{"an ended shard back to a time", Aim{Time: minutes(10)}, new(ended(behind)), "from 10; again 10..50"},
		{"an ended shard back to its last record", Aim{Time: minutes(50)}, new(ended(behind)), "from 50"},
		{"an ended shard ahead to a time", Aim{Time: minutes(51)}, new(ended(behind)), "stay: it has ended, and nothing in it arrived then or later"},

		{"latest", Aim{Latest: true}, &behind, "from 99.83333333333333; skipped 50..99.83333333333333"},
		{"latest at the tip", Aim{Latest: true}, &tip, "stay: it is at the tip already"},
		{"latest of an ended shard", Aim{Latest: true}, new(ended(behind)), done},
		{"latest from a damaged position", Aim{Latest: true}, &bad, "from 99.83333333333333; skipped ?..99.83333333333333"},

		{"trim horizon", Aim{TrimHorizon: true}, &behind, "horizon+50; again -100..50"},
		{"trim horizon after what is kept was passed over", Aim{TrimHorizon: true}, new(at("500", -150)), "horizon+-150"},
		{"trim horizon of a shard that has not begun", Aim{TrimHorizon: true}, nil, "horizon+-10"},
		{"trim horizon of an ended shard", Aim{TrimHorizon: true}, new(ended(behind)), "horizon+50; again -100..50"},
		{"trim horizon of an ended shard that was trimmed", Aim{TrimHorizon: true}, new(ended(at("5", -101))), "stay: it has ended, and the stream keeps nothing of it"},

		{"back behind a record", Aim{After: "499"}, &behind, "after 499@50; again ?..50"},
		{"back behind a record, all caught up", Aim{After: "499"}, &tip, "after 499@99.91666666666667; again ?..99.91666666666667"},
		{"the record it is behind", Aim{After: "500"}, &behind, "stay: it is there already"},
		{"back to the beginning of an aggregate", Aim{After: "500"}, &partial, "after 500@50; again ?..50"},
		{"ahead behind a record", Aim{After: "1000"}, &behind, "after 1000@50; skipped 50..100"},
		{"a record from an anchor", Aim{After: "7"}, &anchor, "after 7@20; skipped 20..100"},
		{"a record for a shard that has not begun", Aim{After: "7"}, nil, "after 7@-10; skipped -10..100"},
		{"a record over a damaged position", Aim{After: "7"}, &bad, "after 7@100; skipped ?..100"},
		{"an ended shard back behind a record", Aim{After: "7"}, new(ended(behind)), "after 7@50; again ?..50"},
		{"an ended shard behind its last record", Aim{After: behind.After}, new(ended(behind)), "after " + string(behind.After) + "@50"},
		{"an ended shard ahead behind a record", Aim{After: "1000"}, new(ended(behind)), done},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.aim.Move(tt.stored, moment)
			if got := showMove(m); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			checkMove(t, tt.stored, m)
		})
	}
	moment.Arrived = minutes(5)
	if got, want := showMove(Aim{After: "499"}.Move(&behind, moment)), "after 499@50; again 5..50"; got != want {
		t.Errorf("with the record's arrival known: got %s, want %s", got, want)
	}
	moment.Arrived = minutes(60)
	if got, want := showMove(Aim{After: "1000"}.Move(&behind, moment)), "after 1000@60; skipped 50..60"; got != want {
		t.Errorf("with the record's arrival known: got %s, want %s", got, want)
	}
}

// checkMove holds what must be true of every move.
func checkMove(t *testing.T, stored *Position, m Move) {
	t.Helper()
	if (m.To == nil) != (m.Why != "") {
		t.Errorf("a move to %v has the reason %q", m.To, m.Why)
	}
	if m.To == nil {
		return
	}
	if m.Again != nil && m.Skipped != nil {
		t.Error("it goes back and ahead at once")
	}
	back, _, err := DecodePosition(EncodePosition(*m.To, Stamp{}))
	if err != nil {
		t.Fatalf("the position cannot be stored: %v", err)
	}
	if back.Ended || back.Partial != nil || !back.CaughtUp.IsZero() {
		t.Errorf("the position is %+v", back)
	}
	lost := len(m.To.Lost)
	if m.Skipped != nil {
		lost--
		if m.To.Lost[lost] != *m.Skipped || m.Skipped.Why != WhySetByOperator {
			t.Errorf("what is skipped is not recorded last: %+v", m.To.Lost)
		}
	}
	if stored != nil && lost != len(stored.Lost) {
		t.Errorf("intervals that were recorded are forgotten: %+v", m.To.Lost)
	}
}

// FuzzMove: nothing that was not handled is left out without being recorded,
// whatever the position and the aim.
func FuzzMove(f *testing.F) {
	for seed := range uint64(32) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 2))
		moment := Moment{Now: minutes(rng.IntN(100) + 1), Horizon: minutes(-rng.IntN(200))}
		stored := at(SequenceNumber(fmt.Sprint(rng.IntN(1000)+1)), rng.IntN(100)-100)
		if rng.IntN(2) == 0 {
			stored = Position{From: StartPoint{Time: minutes(rng.IntN(100) - 100)}}
		}
		if rng.IntN(2) == 0 {
			stored.CaughtUp = minutes(rng.IntN(100) - 100)
		}
		stored.Ended = rng.IntN(4) == 0
		stored.Lost = []Interval{{Until: t0, Why: "trimmed"}}
		aim := []Aim{
			{After: SequenceNumber(fmt.Sprint(rng.IntN(1000) + 1))}, {TrimHorizon: true}, {Latest: true}, {Time: minutes(rng.IntN(200) - 199)},
		}[rng.IntN(4)]
		m := aim.Move(&stored, moment)
		checkMove(t, &stored, m)
		if m.To == nil {
			return
		}
		handled := stored.HandledUntil()
		passed := m.To.From.Time // nothing before is read, if the position is a time
		if m.To.After != "" && m.To.After.Compare(stored.After) > 0 {
			passed = moment.Now
		}
		if !m.To.From.TrimHorizon && handled.Before(passed) && (m.Skipped == nil || !m.Skipped.From.Equal(handled) || m.Skipped.Until.Before(passed)) {
			t.Errorf("%+v from %+v: what arrived from %v to %v is left out, recorded is %+v", aim, stored, handled, passed, m.Skipped)
		}
		if m.To.From.TrimHorizon && m.To.From.Time.After(handled) {
			t.Errorf("the trim horizon is said to be reached by %v, handled is %v", m.To.From.Time, handled)
		}
	})
}

func TestPlanPrune(t *testing.T) {
	now := minutes(0)
	listing := Listing{Now: now, Retention: time.Hour, Shards: []Shard{
		{ID: "c", Parents: []ShardID{"old", "waited"}}, {ID: "d", Parents: []ShardID{"begun"}}, {ID: "e", Last: "9"},
	}}
	stored := Stored{
		Start: &Start{Epoch: 2},
		Positions: map[ShardID]StoredPosition{
			"old":    {Position: ended(at("9", -120))},
			"waited": {Position: ended(at("9", -120))},
			"begun":  {Position: ended(at("9", -120))},
			"alone":  {Position: ended(at("9", -120))},
			"empty":  {Position: ended(Position{From: StartPoint{TrimHorizon: true}})},
			"open":   {Position: at("9", -120)},
			"fresh":  {Position: ended(at("9", -30))},
			"edge":   {Position: ended(at("9", -56))},
			"bad":    {Position: Position{Unreadable: ErrBadPosition}},
			"d":      {Position: at("9", -1)},
			"e":      {Position: ended(at("9", -120))},
		},
		Earlier: []PositionKey{{0, "x"}, {1, "d"}},
	}
	p := PlanPrune(stored, listing)
	if got, want := fmt.Sprint(p.Remove), "[{0 x} {1 d} {2 alone} {2 begun} {2 edge} {2 empty}]"; got != want {
		t.Errorf("removed would be %s, want %s", got, want)
	}
	want := "[{{2 bad} it cannot be understood} {{2 fresh} the stream should still list the shard: look again later} " +
		"{{2 old} its child c has not begun yet} {{2 open} it is not marked ended: a process does that} {{2 waited} its child c has not begun yet}]"
	if got := fmt.Sprint(p.Keep); got != want {
		t.Errorf("kept would be\n%s, want\n%s", got, want)
	}
}

// Whatever PlanPrune removes, no listed shard is planned otherwise afterwards.
func FuzzPlanPrune(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) {
		v := randomView(rand.New(rand.NewPCG(seed, 3)), int(steps%40))
		v.Gone = nil
		stored := Stored{Start: &Start{}, Positions: map[ShardID]StoredPosition{}}
		for id, pos := range v.Positions {
			stored.Positions[id] = StoredPosition{Position: pos}
		}
		before := show(Plan(v))
		for _, key := range PlanPrune(stored, Listing{Shards: v.Shards, Now: minutes(120), Retention: time.Hour}).Remove {
			delete(v.Positions, key.Shard)
		}
		if after := show(Plan(v)); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
	})
}

func TestReconsider(t *testing.T) {
	classify := func(_ ShardID, r *Record) Verdict {
		data := r.Data
		switch string(data) {
		case "bad":
			return Verdict{Bad: "json", Detail: "byte 0 is wrong"}
		case "drop":
			return Verdict{Filter: "type"}
		}
		return Verdict{Event: Event{Type: "t"}}
	}
	letter := func(reason, payload string, length int) *DeadLetter {
		return &DeadLetter{ID: EventID{1}, Shard: "s", Seq: "7", Sub: 2, Arrived: t0, Reason: reason, Detail: "as it was",
			Payload: []byte(payload), Length: length}
	}
	e, err := Reconsider(letter("json", "good", 4), classify)
	if err != nil || e.ID != (EventID{1}) || e.Shard != "s" || e.Seq != "7" || e.Sub != 2 || !e.Arrived.Equal(t0) ||
		string(e.Payload) != "good" || e.Event.Type != "t" {
		t.Errorf("entry %+v, error %v", e, err)
	}
	for _, tt := range []struct {
		letter *DeadLetter
		reason string
	}{
		{letter("json", "bad", 3), "json"},
		{letter("json", "drop", 4), ReasonFiltered},
		{letter(ReasonRejected, "good", 4), ReasonRejected},
		{letter(ReasonAggregate, "good", 4), ReasonAggregate},
	} {
		var refused *StillRefusedError
		if _, err := Reconsider(tt.letter, classify); !errors.As(err, &refused) || refused.Reason != tt.reason {
			t.Errorf("%s: got %v, want a refusal because of %s", tt.letter.Payload, err, tt.reason)
		}
	}
	if _, err := Reconsider(letter("json", "good", 5), classify); !errors.Is(err, ErrCut) {
		t.Errorf("a letter that was cut: got %v", err)
	}
}

func TestBegan(t *testing.T) {
	stored := Stored{Start: &Start{From: StartPoint{Time: minutes(-50)}}, Positions: map[ShardID]StoredPosition{
		"P": {Position: at("5", 10)}, "Q": {Position: ended(at("9", 5))},
	}}
	listed := []Shard{
		{ID: "P"}, {ID: "Q"}, {ID: "R"}, {ID: "a", Parents: []ShardID{"P"}}, {ID: "b", Parents: []ShardID{"a"}}, {ID: "m", Parents: []ShardID{"P", "Q"}},
		{ID: "n", Parents: []ShardID{"gone"}}, {ID: "x", Parents: []ShardID{"y"}}, {ID: "y", Parents: []ShardID{"x"}},
	}
	for shard, want := range map[ShardID]int{"R": -50, "a": 10, "b": 10, "m": 5, "n": -50, "x": -50, "unknown": -50} {
		if got := Began(shard, stored, listed); !got.Equal(minutes(want)) {
			t.Errorf("%s began at %v, want minute %d", shard, got, want)
		}
	}
	if got := Began("a", Stored{}, nil); !got.IsZero() {
		t.Errorf("of an empty store: %v", got)
	}
}
