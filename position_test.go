package gerritstream

import (
	"math/big"
	"reflect"
	"testing"
	"time"
)

var (
	t0      = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	startAt = StartingPosition{Time: t0}
)

func at(after SequenceNumber, minutes int) Position {
	return Position{After: after, Arrived: t0.Add(time.Duration(minutes) * time.Minute)}
}

func TestLostIntervalsAreBounded(t *testing.T) {
	var p Position
	for i := range 3 * MaxLost {
		p = p.WithLost(Interval{Until: t0.Add(time.Duration(i) * time.Hour)})
	}
	if len(p.Lost) != MaxLost || !p.Lost[MaxLost-1].Until.Equal(t0.Add(47*time.Hour)) {
		t.Errorf("%d intervals, the last until %s", len(p.Lost), p.Lost[len(p.Lost)-1].Until)
	}
	q := p.WithLost(Interval{Why: "other"})
	if p.Lost[MaxLost-1].Why == "other" || q.Lost[MaxLost-1].Why != "other" {
		t.Error("two positions share a list")
	}
}

func TestSequenceNumbersCompareAsIntegers(t *testing.T) {
	numbers := []SequenceNumber{"0", "9", "10", "99", "100", "49590338271490256608559692538361571095921575989136588898"}
	for _, a := range numbers {
		for _, b := range numbers {
			x, _ := new(big.Int).SetString(string(a), 10)
			y, _ := new(big.Int).SetString(string(b), 10)
			if got, want := a.Compare(b), x.Cmp(y); got != want {
				t.Errorf("%s compared to %s: %d, want %d", a, b, got, want)
			}
		}
	}
	if SequenceNumber("").Compare("0") >= 0 {
		t.Error("none does not come first")
	}
}

func TestCovers(t *testing.T) {
	p := Position{After: "10", Arrived: t0, Partial: &Partial{Seq: "12", Sub: 2}}
	for _, tt := range []struct {
		seq  SequenceNumber
		sub  int
		want bool
	}{
		{"9", NoSub, true}, {"10", NoSub, true}, {"10", 5, true}, {"11", NoSub, false},
		{"12", 0, true}, {"12", 2, true}, {"12", 3, false}, {"100", NoSub, false},
	} {
		if got := p.Covers(tt.seq, tt.sub); got != tt.want {
			t.Errorf("%s/%d: covered %v, want %v", tt.seq, tt.sub, got, tt.want)
		}
	}
	if (&Position{From: startAt}).Covers("0", NoSub) {
		t.Error("an anchor covers a record")
	}
}

func TestHandledUntil(t *testing.T) {
	later := t0.Add(time.Hour)
	for name, tt := range map[string]struct {
		p    Position
		want time.Time
	}{
		"trim horizon of a stream": {Position{From: StartingPosition{TrimHorizon: true}}, time.Time{}},
		"anchor":                   {Position{From: startAt}, t0},
		"idle since the anchor":    {Position{From: startAt, CaughtUp: later}, later},
		"arrival":                  {at("5", 60), later},
		"idle since the arrival":   {Position{After: "5", Arrived: t0, CaughtUp: later}, later},
		"arrival since the idling": {Position{After: "5", Arrived: later, CaughtUp: t0}, later},
	} {
		if got := tt.p.HandledUntil(); !got.Equal(tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// The ids of events are written down here because they must never change: a new
// id for an old record is a duplicate.
func TestEventIDsAreStable(t *testing.T) {
	stream := Stream{ARN: "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit", Created: t0}
	got := map[string]string{}
	for name, id := range map[string]EventID{
		"plain":     NewEventID(stream, "shardId-000000000000", "495903", NoSub),
		"aggregate": NewEventID(stream, "shardId-000000000000", "495903", 0),
		"shard":     NewEventID(stream, "shardId-000000000001", "495903", NoSub),
		"recreated": NewEventID(Stream{ARN: stream.ARN, Created: t0.Add(time.Millisecond)}, "shardId-000000000000",
			"495903", NoSub),
	} {
		got[name] = id.String()
	}
	want := map[string]string{
		"plain":     "330eab4df08b57b3951a3af4dc9ff85e",
		"aggregate": "95d937303ade5868a0e0416fff15f260",
		"shard":     "f66459f77cf65098a4c179f2a184659f",
		"recreated": "de49825f15265141805aa306800cbeab",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
}

// An event's ID is made for each record, and costs no allocation.
func TestEventIDsCostNoAllocation(t *testing.T) {
	stream := Stream{ARN: "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit", Created: t0}
	if n := testing.AllocsPerRun(100, func() { NewEventID(stream, "shardId-000000000000", "495903", NoSub) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
