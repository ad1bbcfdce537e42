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

// A store's reader refuses a newer format and keeps a damaged position; an
// operator keeps both.
func TestUnreadablePositions(t *testing.T) {
	good := EncodePosition(at("5", 1), gerritstream.Stamp{Term: 3})
	if p, err := ReadPosition(good); err != nil || p.After != "5" {
		t.Errorf("read %+v, %v", p, err)
	}
	if p := StoredPosition(good, t0); p.Position.After != "5" || p.Stamp.Term != 3 || !p.Committed.Equal(t0) {
		t.Errorf("read %+v", p)
	}
	if p, err := ReadPosition([]byte("x")); err != nil || !errors.Is(p.Unreadable, gerritstream.ErrBadPosition) {
		t.Errorf("read %+v, %v", p, err)
	}
	if _, err := ReadPosition([]byte(`{"format":2}`)); !errors.Is(err, gerritstream.ErrNewerFormat) {
		t.Errorf("read a newer format: %v", err)
	}
	for raw, want := range map[string]error{"x": gerritstream.ErrBadPosition,
		`{"format":2}`: gerritstream.ErrNewerFormat} {
		if p := StoredPosition([]byte(raw), t0); !errors.Is(p.Position.Unreadable, want) || !p.Committed.Equal(t0) {
			t.Errorf("read %+v, want %v", p, want)
		}
	}
}

func TestOriginSurvivesStoring(t *testing.T) {
	origin := gerritstream.Origin{
		Stream: gerritstream.Stream{ARN: "arn", Created: t0}, Epoch: 3, From: startAt, Retention: time.Hour,
		Lost: []gerritstream.Interval{{Until: t0, Why: "recreated"}},
	}
	raw, err := EncodeOrigin(origin)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeOrigin(raw)
	if err != nil || !reflect.DeepEqual(*got, origin) || StoredEpoch(raw) != 3 {
		t.Errorf("got %+v, epoch %d, %v", got, StoredEpoch(raw), err)
	}
	other := origin
	other.Epoch++
	if !SameOrigin(got, &origin) || SameOrigin(got, &other) || SameOrigin(got, nil) || SameOrigin(nil, got) ||
		!SameOrigin(nil, nil) {
		t.Error("compared wrongly")
	}
}

func TestDamagedOriginsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		stored string
		newer  bool
		epoch  int
	}{
		{"", false, 0},
		{"null", false, 0},
		{`{"format":1}`, false, 0},
		{`{"format":0,"stream":{"arn":"a"}}`, false, 0},
		{`{"format":1,"stream":{"arn":"a"},"epoch":"x"}`, false, 0},
		{`{"format":2,"stream":"a","epoch":4}`, true, 4},
	} {
		_, err := DecodeOrigin([]byte(tt.stored))
		if err == nil || errors.Is(err, gerritstream.ErrNewerFormat) != tt.newer {
			t.Errorf("decode %s: %v", tt.stored, err)
		}
		if epoch := StoredEpoch([]byte(tt.stored)); epoch != tt.epoch {
			t.Errorf("epoch of %s: %d, want %d", tt.stored, epoch, tt.epoch)
		}
	}
}

func TestEarlierEpochsAreStale(t *testing.T) {
	for epoch, stale := range map[int]bool{3: true, 4: false, 5: false} {
		if err := CheckEpoch(epoch, 4); errors.Is(err, gerritstream.ErrStaleEpoch) != stale {
			t.Errorf("epoch %d: %v", epoch, err)
		}
	}
}

// FuzzDecodePosition: whatever is stored, decoding does not panic, and what it
// accepts is stored as the same again.
func FuzzDecodePosition(f *testing.F) {
	f.Add([]byte(`{"format":1}`))
	f.Add(EncodePosition(at("5", 1).WithLost(gerritstream.Interval{Until: t0}), gerritstream.Stamp{}))
	f.Add(EncodePosition(gerritstream.Position{From: startAt, Partial: &gerritstream.Partial{Seq: "6"}},
		gerritstream.Stamp{Term: 1 << 63}))
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
