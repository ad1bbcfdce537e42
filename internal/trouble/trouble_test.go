package trouble

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
)

// The identity of a cause holds nothing that differs from one request, shard or
// moment to the next.
func TestCauseIsBounded(t *testing.T) {
	const throttled = "retrying: kinesis:GetRecords on arn:aws:kinesis:us-east-1:%d:stream/gerrit/shardId-%012d: " +
		"ProvisionedThroughputExceededException: Rate exceeded for shard shardId-%012d in stream gerrit " +
		"under account %d. (request %x-4f2a)"
	tests := []struct{ a, b string }{
		{fmt.Sprintf(throttled, 1, 2, 3, 4, 0xabc), fmt.Sprintf(throttled, 5, 6, 7, 8, 0xdef1)},
		{"dial tcp 127.0.0.1:2181: connect: refused", "dial tcp [::1]:40321: connect: refused"},
		{"no progress for 10s", "no progress\nfor 1m2.5s"},
		{"record 49590338271490256608559692538361571095921575989136588898 is too large", "record 495 is too large"},
		{`disk "/var/lib/a1/g.db" is full`, `disk "/srv/b2/g.db" is full`},
	}
	for _, tt := range tests {
		if a, b := Cause(tt.a), Cause(tt.b); a != b || a == "" {
			t.Errorf("%q\n%q", a, b)
		}
	}
	if Cause("access denied") == Cause("connection refused") {
		t.Error("two causes are one")
	}
	if n := len(Cause(strings.Repeat("ä word ", 1000))); n > 200 {
		t.Errorf("a cause has %d bytes", n)
	}
}

func TestTroublesOfOneCauseAreOne(t *testing.T) {
	var s gs.Status
	for i := range 6 {
		s.Shards = append(s.Shards, gs.ShardStatus{
			Shard: gs.ShardID(fmt.Sprintf("s%d", 6-i)), State: gs.StateReading,
			Trouble: fmt.Sprintf("no progress\nfor %d s", i),
		})
	}
	s.Shards[1].State, s.Shards[2].State, s.Shards[3].Trouble = gs.StateStandby, gs.StateHalted, "halted"
	if got, want := fmt.Sprint(Of(&s)), "[s1, s2, s4, s6: no progress for 0 s s3: halted]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.Trouble = "no progress for a day"
	s.Shards[3].Trouble = "no progress for a day"
	if got, want := fmt.Sprint(Of(&s)), "[no progress for a day s1, s2, s4, s6: no progress for 0 s]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := SomeOf([]string{"a", "b", "c", "d", "e"}), "a, b, c and 2 more"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDeadLetterBurst(t *testing.T) {
	last := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		records, dead int
		after         time.Duration
		want          bool
	}{
		{200, 20, 0, true}, {10, 10, 29 * time.Minute, true},
		{9, 9, 0, false}, {200, 19, 0, false}, {200, 200, 30 * time.Minute, false},
	} {
		rate := &gs.DeadRate{Records: tt.records, Dead: tt.dead, Last: last, Reason: "json", Detail: "gzip"}
		want := ""
		if tt.want {
			want = fmt.Sprintf("%d of the last %d records became dead letters: json: gzip", tt.dead, tt.records)
		}
		if got := DeadLetterBurst(rate, last.Add(tt.after)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if DeadLetterBurst(nil, last) != "" {
		t.Error("none is a burst")
	}
}
