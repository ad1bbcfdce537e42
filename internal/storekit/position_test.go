package storekit

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

var (
	t0      = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	startAt = gerritstream.StartingPosition{Time: t0}
)

func at(after gerritstream.SequenceNumber, minutes int) gerritstream.Position {
	return gerritstream.Position{After: after, Arrived: t0.Add(time.Duration(minutes) * time.Minute)}
}

func ended(p gerritstream.Position) gerritstream.Position { p.Ended = true; return p }

func TestPositionSurvivesStoring(t *testing.T) {
	stamp := gerritstream.Stamp{Term: 7, Nonce: "n1"}
	for name, p := range map[string]gerritstream.Position{
		"anchor":       {From: startAt},
		"trim horizon": {From: gerritstream.StartingPosition{TrimHorizon: true}},
		"child":        {From: gerritstream.StartingPosition{TrimHorizon: true, Time: t0}},
		"sequence":     at("49590338271490256608559692538361571095921575989136588898", 3),
		"caught up":    {After: "5", Arrived: t0, CaughtUp: t0.Add(time.Hour)},
		"taken over":   {After: "5", CheckpointedAt: t0},
		"partial":      {After: "5", Arrived: t0, Partial: &gerritstream.Partial{Seq: "6", Sub: 3}},
		"partial only": {From: startAt, Partial: &gerritstream.Partial{Seq: "6", Sub: 0}},
		"ended":        ended(at("5", 1)),
		"lost":         at("5", 1).WithLost(gerritstream.Interval{Until: t0, Why: "trimmed"}),
	} {
		t.Run(name, func(t *testing.T) {
			got, gotStamp, err := DecodePosition(EncodePosition(p, stamp))
			if err != nil || !reflect.DeepEqual(got, p) || gotStamp != stamp {
				t.Errorf("got %+v %+v, %v; want %+v %+v", got, gotStamp, err, p, stamp)
			}
		})
	}
}

func TestDamagedPositionsAreRefused(t *testing.T) {
	good := string(EncodePosition(at("5", 1), gerritstream.Stamp{Term: 1}))
	for _, tt := range []struct {
		stored string
		want   error
	}{
		{"", gerritstream.ErrBadPosition},
		{"null", gerritstream.ErrBadPosition},
		{"[]", gerritstream.ErrBadPosition},
		{`{"checkpoint":"5"}`, gerritstream.ErrBadPosition},
		{good[:len(good)-1], gerritstream.ErrBadPosition},
		{good + "x", gerritstream.ErrBadPosition},
		{strings.Replace(good, `"5"`, `"05"`, 1), gerritstream.ErrBadPosition},
		{strings.Replace(good, `"5"`, `"five"`, 1), gerritstream.ErrBadPosition},
		{strings.Replace(good, `"5"`, `"`+strings.Repeat("5", 129)+`"`, 1), gerritstream.ErrBadPosition},
		{strings.Replace(good, `"format":1`, `"format":0`, 1), gerritstream.ErrBadPosition},
		{strings.Replace(good, `"format":1`, `"format":1,"unknown":1`, 1), gerritstream.ErrBadPosition},
		{`{"format":1,"after":"5","term":1,"nonce":""}`, gerritstream.ErrBadPosition},
		{`{"format":1,"term":1,"nonce":""}`, gerritstream.ErrBadPosition},
		{strings.Replace(good, `"nonce":""`, `"nonce":"`+strings.Repeat("N", 65)+`"`, 1), gerritstream.ErrBadPosition},
		{strings.Replace(good, `"term"`, `"lost":[{"why":"`+strings.Repeat("w", 65)+`"}],"term"`, 1), gerritstream.ErrBadPosition},
		{strings.Replace(good, `"term"`, `"lost":[{}`+strings.Repeat(",{}", 16)+`],"term"`, 1), gerritstream.ErrBadPosition},
		{`{"format":1,"from":{"trim_horizon":true},"partial":{"seq":"6","sub":-1},"term":1,"nonce":""}`, gerritstream.ErrBadPosition},
		{strings.Replace(good, `"term"`, `"partial":{"seq":"5","sub":1},"term"`, 1), gerritstream.ErrBadPosition},
		{strings.Replace(good, `"format":1`, `"format":2,"unknown":1`, 1), gerritstream.ErrNewerFormat},
	} {
		if _, _, err := DecodePosition([]byte(tt.stored)); !errors.Is(err, tt.want) {
			t.Errorf("decode %s: %v, want %v", tt.stored, err, tt.want)
		}
	}
}

// FuzzDecodePosition: whatever is stored, decoding does not panic, and what it
// accepts is stored as the same again.
func FuzzDecodePosition(f *testing.F) {
	f.Add([]byte(`{"format":1}`))
	f.Add(EncodePosition(at("5", 1).WithLost(gerritstream.Interval{Until: t0}), gerritstream.Stamp{}))
	f.Add(EncodePosition(gerritstream.Position{From: startAt, Partial: &gerritstream.Partial{Seq: "6"}}, gerritstream.Stamp{Term: 1 << 63}))
	f.Fuzz(func(t *testing.T, stored []byte) {
		p, s, err := DecodePosition(stored)
		if err != nil {
			if !errors.Is(err, gerritstream.ErrBadPosition) && !errors.Is(err, gerritstream.ErrNewerFormat) {
				t.Errorf("unnamed error %v", err)
			}
			return
		}
		once := EncodePosition(p, s)
		p, s, err = DecodePosition(once)
		if err != nil || !bytes.Equal(once, EncodePosition(p, s)) {
			t.Errorf("%q is not stored as it was read: %v", stored, err)
		}
	})
}
