package zookeeper

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

func TestReconcile(t *testing.T) {
	written := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	arrived := written.Add(-time.Hour)
	at := func(raw string) zuulCheckpoint {
		return zuulCheckpoint{node{present: true, data: []byte(raw)}, written}
	}
	null, absent, garbage := at(`{"checkpoint": null}`), zuulCheckpoint{}, at(`LATEST`)
	seq := func(n gerritstream.SequenceNumber) gerritstream.Position {
		return gerritstream.Position{After: n, Arrived: arrived}
	}
	ended := seq("100")
	ended.Ended = true
	anchor := gerritstream.Position{From: gerritstream.StartingPosition{Time: arrived}}
	idle := anchor
	idle.CaughtUp = arrived.Add(time.Minute)
	horizon := gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}
	unreadable := gerritstream.Position{Unreadable: gerritstream.ErrBadPosition}
	none := gerritstream.Position{}
	const z100, z99, z101, zLong = `{"checkpoint": "100"}`, `{"checkpoint": "99"}`, `{"checkpoint": "101"}`,
		`{"checkpoint": "1000", "x": 1}`

	for name, tc := range map[string]struct {
		ours    gerritstream.Position
		stored  bool
		zuul    zuulCheckpoint
		earlier bool // of an earlier stream

		after      gerritstream.SequenceNumber // empty: the position stays as it is
		wantStored bool
		warn       bool
		lost       time.Time // where the possible loss begins, with anyLoss
		anyLoss    bool
	}{
		"nothing anywhere":                 {none, false, absent, false, "", false, false, time.Time{}, false},
		"nothing, and null":                {none, false, null, false, "", false, false, time.Time{}, false},
		"nothing, and garbage":             {none, false, garbage, false, "", false, true, time.Time{}, false},
		"nothing, and Zuul's":              {none, false, at(z100), false, "100", true, false, time.Time{}, false},
		"nothing, and an earlier stream's": {none, false, at(z100), true, "", false, true, time.Time{}, false},
		"the same": {seq("100"), true, at(z100), false, "", true, false, time.Time{},
			false},
		"Zuul is ahead": {seq("100"), true, at(z101), false, "101", true, false, time.Time{},
			false},
		"Zuul is ahead by a digit": {seq("999"), true, at(zLong), false, "1000", true, false, time.Time{},
			false},
		"Zuul is before, by a digit": {seq("100"), true, at(z99), false, "", true, true, time.Time{}, false},
		"Zuul's is gone":             {seq("100"), true, absent, false, "", true, true, time.Time{}, false},
		"Zuul's is null":             {seq("100"), true, null, false, "", true, true, time.Time{}, false},
		"Zuul's is garbage":          {seq("100"), true, garbage, false, "", true, true, time.Time{}, false},
		"Zuul's has no such key":     {seq("100"), true, at(`{}`), false, "", true, true, time.Time{}, false},
		"Zuul's is a list": {seq("100"), true, at(`["100"]`), false, "", true, true, time.Time{},
			false},
		"Zuul's is a number": {seq("100"), true, at(`{"checkpoint": 101}`), false, "", true, true,
			time.Time{}, false},
		"Zuul's is no number": {seq("100"), true, at(`{"checkpoint": "1x1"}`), false, "", true, true,
			time.Time{}, false},
		"ended, the same":           {ended, true, at(z100), false, "", true, false, time.Time{}, false},
		"ended, and Zuul went on":   {ended, true, at(z101), false, "101", true, false, time.Time{}, false},
		"ended, and Zuul is before": {ended, true, at(z99), false, "", true, true, time.Time{}, false},
		"an anchor, and null":       {anchor, true, null, false, "", true, false, time.Time{}, false},
		"an anchor, and nothing":    {anchor, true, absent, false, "", true, false, time.Time{}, false},
		"an anchor, and Python led": {anchor, true, at(z100), false, "100", true, true, arrived, true},
		"an anchor, caught up, and Python led": {idle, true, at(z100), false, "100", true, true,
			arrived.Add(time.Minute), true},
		"a trim horizon, and Python led": {horizon, true, at(z100), false, "100", true, true, time.Time{}, true},
		"an anchor, and garbage":         {anchor, true, garbage, false, "", true, true, time.Time{}, false},
		"unreadable, and nothing":        {unreadable, true, null, false, "", true, false, time.Time{}, false},
		"unreadable, and Zuul's": {unreadable, true, at(z100), false, "100", true, true, time.Time{},
			false},
		"unreadable, and an earlier stream's": {unreadable, true, at(z100), true, "", true, true, time.Time{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := reconcile(shardState{position: tc.ours, stored: tc.stored, zuul: tc.zuul, earlierStream: tc.earlier})
			if b.found.Stored != tc.wantStored || (b.warning != "") != tc.warn || (b.found.Lost != nil) != tc.anyLoss {
				t.Errorf("begins with stored %v, warning %q, loss %v", b.found.Stored, b.warning, b.found.Lost)
			}
			want := tc.ours
			if tc.after != "" {
				want = gerritstream.Position{After: tc.after, CheckpointedAt: written}
			}
			if b.found.Lost != nil {
				if !b.found.Lost.From.Equal(tc.lost) || !b.found.Lost.Until.Equal(written) ||
					b.found.Lost.Why != gerritstream.WhyForeignLed {
					t.Errorf("possibly lost: %+v", *b.found.Lost)
				}
			}
			if got := b.found.Position; got.After != want.After || !got.Arrived.Equal(want.Arrived) ||
				!got.CheckpointedAt.Equal(want.CheckpointedAt) ||
				got.Ended != want.Ended || got.From != want.From || !got.CaughtUp.Equal(want.CaughtUp) ||
				!errors.Is(got.Unreadable, want.Unreadable) {
				t.Errorf("begins with %+v, want %+v", got, want)
			}
			if b.found.Position.Unreadable == nil && b.found.Stored {
				if _, _, err := storekit.DecodePosition(storekit.EncodePosition(b.found.Position,
					gerritstream.Stamp{})); err != nil {
					t.Errorf("the position cannot be stored: %v", err)
				}
			}
		})
	}
}

func TestReconcileKeepsLosses(t *testing.T) {
	p := gerritstream.Position{From: gerritstream.StartingPosition{Time: time.UnixMilli(1)}}
	p.Lost = []gerritstream.Interval{{Until: time.UnixMilli(1), Why: "trimmed"},
		{Until: time.UnixMilli(2), Why: "bad position"}}
	b := reconcile(shardState{position: p, stored: true, zuul: zuulCheckpoint{
		node{present: true, data: []byte(`{"checkpoint": "7"}`)}, time.UnixMilli(99),
	}})
	if !slices.Equal(b.found.Position.Lost, p.Lost) || b.found.Lost == nil {
		t.Errorf("losses are %+v, and %v", b.found.Position.Lost, b.found.Lost)
	}
}

func TestCheckpointBytes(t *testing.T) {
	for seq, want := range map[gerritstream.SequenceNumber]string{
		"": `{"checkpoint": null}`, "49590338271490256608559692538361571095921575989136588898": `{"checkpoint": "49590338271490256608559692538361571095921575989136588898"}`,
	} {
		if got := string(encodeCheckpoint(seq)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		z := checkpointOf(node{present: true, data: []byte(want)})
		if got, err := z.sequence(); got != seq || err != nil {
			t.Errorf("%s reads as %q, %v", want, got, err)
		}
	}
}
