package pauses

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

var (
	since = time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	a     = Pause{Shard: "a", Since: since, By: "anna@ops", Reason: "upgrade", Until: since.Add(time.Hour)}
	b     = Pause{Shard: "b", Since: since, By: "anna@ops"}
	all   = Pause{Since: since.Add(time.Minute), By: "ben@ops", Until: since.Add(2 * time.Hour)}
)

func TestAPauseOfAllCoversEveryShard(t *testing.T) {
	s := Set{}.With(b).With(all).With(a)
	if want := (Set{all, a, b}); !reflect.DeepEqual(s, want) {
		t.Fatalf("the set is %v, want %v", s, want)
	}
	for shard, want := range map[gerritstream.ShardID]Pause{"a": a, "b": b, "c": all} {
		if got, ok := s.Of(shard); !ok || got != want {
			t.Errorf("%s is paused by %v, %v; want %v", shard, got, ok, want)
		}
	}
	if _, ok := s.Has("c"); ok {
		t.Error("c has a pause of its own")
	}
	if _, ok := s.Without(All).Of("c"); ok {
		t.Error("c is paused without the pause of all")
	}
	if len(s) != 3 {
		t.Errorf("the set has changed: %v", s)
	}
}

func TestAPauseEndsWhenItsTimeIsPast(t *testing.T) {
	s := Set{all, a, b}
	for _, test := range []struct {
		now  time.Time
		left Set
	}{
		{time.Time{}, s},
		{a.Until.Add(-time.Nanosecond), s},
		{a.Until, Set{all, b}},
		{all.Until.Add(time.Hour), Set{b}},
	} {
		if left, ended := s.Past(test.now); !left.Equal(test.left) || ended != len(s)-len(left) {
			t.Errorf("at %v %v are left and %d have ended, want %v", test.now, left, ended, test.left)
		}
	}
}

func TestPausesAreStored(t *testing.T) {
	for _, s := range []Set{nil, {a}, {all, a, b}} {
		raw, err := Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := Decode(raw); !reflect.DeepEqual(got, s) {
			t.Errorf("%v is read as %v", s, got)
		}
	}
	if got := Decode(nil); got != nil {
		t.Errorf("an empty record is %v", got)
	}
	long := a
	long.Reason = strings.Repeat("x", MaxText+1)
	for _, s := range []Set{{b, a}, {a, a}, {long}, {{Shard: "a", By: "x"}}} {
		if raw, err := Encode(s); err == nil {
			t.Errorf("%s is stored", raw)
		}
	}
}

// TestADamagedRecordPausesEverything: what cannot be understood may be a pause.
func TestADamagedRecordPausesEverything(t *testing.T) {
	for _, raw := range []string{
		"x", "{}", `{"format":2}`, `{"format":1,"pauses":[{"shard":"a"}]}`, `{"format":1,"pauses":{}}`,
	} {
		p, ok := Decode([]byte(raw)).Of("any")
		if !ok || !strings.Contains(p.Reason, "resume --all") {
			t.Errorf("%s is read as %v", raw, p)
		}
		if _, err := Encode(Set{p}); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestPausesAreDescribed(t *testing.T) {
	for text, p := range map[string]Pause{
		"paused by anna@ops since 2026-01-31T10:00:00Z until 2026-01-31T11:00:00Z: upgrade": a,
		"paused by anna@ops since 2026-01-31T10:00:00Z":                                     b,
	} {
		if p.String() != text {
			t.Errorf("%q, want %q", p.String(), text)
		}
	}
}

func TestACommitOfAPausedShardIsRetriedLater(t *testing.T) {
	if !errors.Is(ErrPaused, gerritstream.ErrRetryLater) || errors.Is(ErrPaused, gerritstream.ErrLeadershipLost) {
		t.Error("ErrPaused is another error than promised")
	}
}
