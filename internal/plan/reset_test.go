package plan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// minutes is t0 and so many minutes.
func minutes(n int) time.Time { return t0.Add(time.Duration(n) * time.Minute) }

// showMove renders a move as "position; again FROM-UNTIL; skipped FROM-UNTIL"
// in minutes.
func showMove(m ResetPlan) string {
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
	moment := ResetInput{Now: minutes(100), Horizon: minutes(-100), Earliest: minutes(-10)}
	behind := at("500", 50)
	tip := behind
	tip.CaughtUp = minutes(99).Add(55 * time.Second)
	partial := behind
	partial.Partial = &gerritstream.Partial{Seq: "501", Sub: 3}
	anchor := gerritstream.Position{From: gerritstream.StartingPosition{Time: minutes(20)}}
	horizon := gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}
	bad := gerritstream.Position{Unreadable: gerritstream.ErrBadPosition}
	const done = "stay: it has ended, and was handled to its end"
	for _, tt := range []struct {
		name   string
		aim    ResetTarget
		stored *gerritstream.Position
		want   string
	}{
		{"back to a time", ResetTarget{Time: minutes(10)}, &behind, "from 10; again 10..50"},
		{"ahead to a time", ResetTarget{Time: minutes(70)}, &behind, "from 70; skipped 50..70"},
		{"ahead to a time that was reached in empty pages", ResetTarget{Time: minutes(70)}, &tip, "from 70; again 70..99.91666666666667"},
		{"back to a time before what is kept", ResetTarget{Time: minutes(-200)}, &behind, "horizon+50; again -100..50"},
		{"back from an anchor", ResetTarget{Time: minutes(10)}, &anchor, "from 10; again 10..20"},
		{"ahead from an anchor", ResetTarget{Time: minutes(30)}, &anchor, "from 30; skipped 20..30"},
		{"ahead from a trim horizon of which nothing is known", ResetTarget{Time: minutes(30)}, &horizon, "from 30; skipped ?..30"},
		{"from a damaged position to a time", ResetTarget{Time: minutes(30)}, &bad, "from 30; skipped ?..30"},
		{"a time for a shard that has not begun", ResetTarget{Time: minutes(30)}, nil, "from 30; skipped -10..30"},
		{"a time before a shard began", ResetTarget{Time: minutes(-30)}, nil, "from -30"},
		{"an ended shard back to a time", ResetTarget{Time: minutes(10)}, new(ended(behind)), "from 10; again 10..50"},
		{"an ended shard back to its last record", ResetTarget{Time: minutes(50)}, new(ended(behind)), "from 50"},
		{"an ended shard ahead to a time", ResetTarget{Time: minutes(51)}, new(ended(behind)), "stay: it has ended, and nothing in it arrived then or later"},

		{"latest", ResetTarget{Latest: true}, &behind, "from 99.83333333333333; skipped 50..99.83333333333333"},
		{"latest at the tip", ResetTarget{Latest: true}, &tip, "stay: it is at the tip already"},
		{"latest of an ended shard", ResetTarget{Latest: true}, new(ended(behind)), done},
		{"latest from a damaged position", ResetTarget{Latest: true}, &bad, "from 99.83333333333333; skipped ?..99.83333333333333"},

		{"trim horizon", ResetTarget{TrimHorizon: true}, &behind, "horizon+50; again -100..50"},
		{"trim horizon after what is kept was passed over", ResetTarget{TrimHorizon: true}, new(at("500", -150)), "horizon+-150"},
		{"trim horizon of a shard that has not begun", ResetTarget{TrimHorizon: true}, nil, "horizon+-10"},
		{"trim horizon of an ended shard", ResetTarget{TrimHorizon: true}, new(ended(behind)), "horizon+50; again -100..50"},
		{"trim horizon of an ended shard that was trimmed", ResetTarget{TrimHorizon: true}, new(ended(at("5", -101))), "stay: it has ended, and the stream keeps nothing of it"},

		{"back behind a record", ResetTarget{After: "499"}, &behind, "after 499@50; again ?..50"},
		{"back behind a record, all caught up", ResetTarget{After: "499"}, &tip, "after 499@99.91666666666667; again ?..99.91666666666667"},
		{"the record it is behind", ResetTarget{After: "500"}, &behind, "stay: it is there already"},
		{"back to the beginning of an aggregate", ResetTarget{After: "500"}, &partial, "after 500@50; again ?..50"},
		{"ahead behind a record", ResetTarget{After: "1000"}, &behind, "after 1000@50; skipped 50..100"},
		{"a record from an anchor", ResetTarget{After: "7"}, &anchor, "after 7@20; skipped 20..100"},
		{"a record for a shard that has not begun", ResetTarget{After: "7"}, nil, "after 7@-10; skipped -10..100"},
		{"a record over a damaged position", ResetTarget{After: "7"}, &bad, "after 7@100; skipped ?..100"},
		{"an ended shard back behind a record", ResetTarget{After: "7"}, new(ended(behind)), "after 7@50; again ?..50"},
		{"an ended shard behind its last record", ResetTarget{After: behind.After}, new(ended(behind)), "after " + string(behind.After) + "@50"},
		{"an ended shard ahead behind a record", ResetTarget{After: "1000"}, new(ended(behind)), done},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.aim.Plan(tt.stored, moment)
			if got := showMove(m); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			checkMove(t, tt.stored, m)
		})
	}
	moment.Arrived = minutes(5)
	if got, want := showMove(ResetTarget{After: "499"}.Plan(&behind, moment)), "after 499@50; again 5..50"; got != want {
		t.Errorf("with the record's arrival known: got %s, want %s", got, want)
	}
	moment.Arrived = minutes(60)
	if got, want := showMove(ResetTarget{After: "1000"}.Plan(&behind, moment)), "after 1000@60; skipped 50..60"; got != want {
		t.Errorf("with the record's arrival known: got %s, want %s", got, want)
	}
}

// checkMove holds what must be true of every move.
func checkMove(t *testing.T, stored *gerritstream.Position, m ResetPlan) {
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
	back, _, err := storekit.DecodePosition(storekit.EncodePosition(*m.To, gerritstream.Stamp{}))
	if err != nil {
		t.Fatalf("the position cannot be stored: %v", err)
	}
	if back.Ended || back.Partial != nil || !back.CaughtUp.IsZero() {
		t.Errorf("the position is %+v", back)
	}
	lost := len(m.To.Lost)
	if m.Skipped != nil {
		lost--
		if m.To.Lost[lost] != *m.Skipped || m.Skipped.Why != gerritstream.WhySetByOperator {
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
		moment := ResetInput{Now: minutes(rng.IntN(100) + 1), Horizon: minutes(-rng.IntN(200))}
		stored := at(gerritstream.SequenceNumber(fmt.Sprint(rng.IntN(1000)+1)), rng.IntN(100)-100)
		if rng.IntN(2) == 0 {
			stored = gerritstream.Position{From: gerritstream.StartingPosition{Time: minutes(rng.IntN(100) - 100)}}
		}
		if rng.IntN(2) == 0 {
			stored.CaughtUp = minutes(rng.IntN(100) - 100)
		}
		stored.Ended = rng.IntN(4) == 0
		stored.Lost = []gerritstream.Interval{{Until: t0, Why: "trimmed"}}
		aim := []ResetTarget{
			{After: gerritstream.SequenceNumber(fmt.Sprint(rng.IntN(1000) + 1))}, {TrimHorizon: true}, {Latest: true}, {Time: minutes(rng.IntN(200) - 199)},
		}[rng.IntN(4)]
		m := aim.Plan(&stored, moment)
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
	listing := gerritstream.Listing{Now: now, Retention: time.Hour, Shards: []gerritstream.Shard{
		{ID: "c", Parents: []gerritstream.ShardID{"old", "waited"}}, {ID: "d", Parents: []gerritstream.ShardID{"begun"}}, {ID: "e", Last: "9"},
	}}
	stored := gerritstream.Stored{
		Origin: &gerritstream.Origin{Epoch: 2},
		Positions: map[gerritstream.ShardID]gerritstream.StoredPosition{
			"old":    {Position: ended(at("9", -120))},
			"waited": {Position: ended(at("9", -120))},
			"begun":  {Position: ended(at("9", -120))},
			"alone":  {Position: ended(at("9", -120))},
			"empty":  {Position: ended(gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}})},
			"open":   {Position: at("9", -120)},
			"fresh":  {Position: ended(at("9", -30))},
			"edge":   {Position: ended(at("9", -56))},
			"bad":    {Position: gerritstream.Position{Unreadable: gerritstream.ErrBadPosition}},
			"d":      {Position: at("9", -1)},
			"e":      {Position: ended(at("9", -120))},
		},
		Earlier: []gerritstream.PositionKey{{Epoch: 0, Shard: "x"}, {Epoch: 1, Shard: "d"}},
	}
	p := Prune(stored, listing)
	if got, want := fmt.Sprint(p.Remove), "[{0 x} {1 d} {2 alone} {2 begun} {2 edge} {2 empty}]"; got != want {
		t.Errorf("removed would be %s, want %s", got, want)
	}
	want := "[{{2 bad} it cannot be understood} {{2 fresh} the stream should still list the shard: look again later} " +
		"{{2 old} its child c has not begun yet} {{2 open} it is not marked ended: a process does that} {{2 waited} its child c has not begun yet}]"
	if got := fmt.Sprint(p.Keep); got != want {
		t.Errorf("kept would be\n%s, want\n%s", got, want)
	}
}

// Whatever Prune removes, no listed shard is planned otherwise afterwards.
func FuzzPlanPrune(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) {
		v := randomView(rand.New(rand.NewPCG(seed, 3)), int(steps%40))
		v.Gone = nil
		stored := gerritstream.Stored{Origin: &gerritstream.Origin{}, Positions: map[gerritstream.ShardID]gerritstream.StoredPosition{}}
		for id, pos := range v.Positions {
			stored.Positions[id] = gerritstream.StoredPosition{Position: pos}
		}
		before := show(Steps(v))
		for _, key := range Prune(stored, gerritstream.Listing{Shards: v.Shards, Now: minutes(120), Retention: time.Hour}).Remove {
			delete(v.Positions, key.Shard)
		}
		if after := show(Steps(v)); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
	})
}

func TestReconsider(t *testing.T) {
	classify := func(_ gerritstream.ShardID, r *gerritstream.Record) gerritstream.Verdict {
		data := r.Data
		switch string(data) {
		case "bad":
			return gerritstream.Verdict{Bad: "json", Detail: "byte 0 is wrong"}
		case "drop":
			return gerritstream.Verdict{Filter: "type"}
		}
		return gerritstream.Verdict{Event: gerritstream.Event{Type: "t"}}
	}
	letter := func(reason, payload string, length int) *gerritstream.DeadLetter {
		return &gerritstream.DeadLetter{ID: gerritstream.EventID{1}, Shard: "s", Seq: "7", Sub: 2, Arrived: t0, Reason: reason, Detail: "as it was",
			Payload: []byte(payload), Length: length}
	}
	e, err := Redrive(letter("json", "good", 4), classify)
	if err != nil || e.ID != (gerritstream.EventID{1}) || e.Shard != "s" || e.Seq != "7" || e.Sub != 2 || !e.Arrived.Equal(t0) ||
		string(e.Payload) != "good" || e.Event.Type != "t" {
		t.Errorf("entry %+v, error %v", e, err)
	}
	for _, tt := range []struct {
		letter *gerritstream.DeadLetter
		reason string
	}{
		{letter("json", "bad", 3), "json"},
		{letter("json", "drop", 4), ReasonFiltered},
		{letter(gerritstream.ReasonRejected, "good", 4), gerritstream.ReasonRejected},
		{letter(gerritstream.ReasonAggregate, "good", 4), gerritstream.ReasonAggregate},
	} {
		var refused *StillRefusedError
		if _, err := Redrive(tt.letter, classify); !errors.As(err, &refused) || refused.Reason != tt.reason {
			t.Errorf("%s: got %v, want a refusal because of %s", tt.letter.Payload, err, tt.reason)
		}
	}
	if _, err := Redrive(letter("json", "good", 5), classify); !errors.Is(err, gerritstream.ErrTruncated) {
		t.Errorf("a letter that was cut: got %v", err)
	}
}

func TestBegan(t *testing.T) {
	stored := gerritstream.Stored{Origin: &gerritstream.Origin{From: gerritstream.StartingPosition{Time: minutes(-50)}}, Positions: map[gerritstream.ShardID]gerritstream.StoredPosition{
		"P": {Position: at("5", 10)}, "Q": {Position: ended(at("9", 5))},
	}}
	listed := []gerritstream.Shard{
		{ID: "P"}, {ID: "Q"}, {ID: "R"}, {ID: "a", Parents: []gerritstream.ShardID{"P"}}, {ID: "b", Parents: []gerritstream.ShardID{"a"}}, {ID: "m", Parents: []gerritstream.ShardID{"P", "Q"}},
		{ID: "n", Parents: []gerritstream.ShardID{"gone"}}, {ID: "x", Parents: []gerritstream.ShardID{"y"}}, {ID: "y", Parents: []gerritstream.ShardID{"x"}},
	}
	for shard, want := range map[gerritstream.ShardID]int{"R": -50, "a": 10, "b": 10, "m": 5, "n": -50, "x": -50, "unknown": -50} {
		if got := EarliestArrival(shard, stored, listed); !got.Equal(minutes(want)) {
			t.Errorf("%s began at %v, want minute %d", shard, got, want)
		}
	}
	if got := EarliestArrival("a", gerritstream.Stored{}, nil); !got.IsZero() {
		t.Errorf("of an empty store: %v", got)
	}
}
