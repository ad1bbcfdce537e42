package sqlite

import (
	"testing"
	"time"
)

func TestMayTake(t *testing.T) {
	const ttl = 5 * time.Second
	now := time.Now()
	for name, tc := range map[string]struct {
		lease    lease
		seenFor  time.Duration
		leading  bool
		preceded bool
		want     bool
	}{
		"never held":                             {lease{}, 0, false, false, true},
		"resigned":                               {lease{term: 7}, 0, false, false, true},
		"resigned, first seen after now":         {lease{term: 7}, -time.Millisecond, false, false, true},
		"another's, first seen after now":        {lease{7, "other", 1}, -time.Millisecond, false, false, false},
		"resigned, we are about to know":         {lease{term: 7}, 0, true, false, false},
		"another's, just seen":                   {lease{7, "other", 1}, 0, false, false, false},
		"another's, seen for nearly a TTL":       {lease{7, "other", 1}, ttl - time.Nanosecond, false, false, false},
		"another's, seen for a TTL":              {lease{7, "other", 1}, ttl, false, false, true},
		"ours, and we lead":                      {lease{7, "self", 1}, time.Hour, true, false, false},
		"ours, from a term that ended":           {lease{7, "self", 1}, 0, false, false, true},
		"resigned, and another precedes":         {lease{term: 7}, ttl - time.Nanosecond, false, true, false},
		"left by the first candidate":            {lease{term: 7}, ttl, false, true, true},
		"another's, and another precedes":        {lease{7, "other", 1}, 2*ttl - time.Nanosecond, false, true, false},
		"another's, left by the first candidate": {lease{7, "other", 1}, 2 * ttl, false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := unchangedLease{tc.lease, now.Add(-tc.seenFor), ttl}
			if got := l.mayTake("self", tc.leading, tc.preceded, now); got != tc.want {
				t.Errorf("mayTake = %v, want %v", got, tc.want)
			}
		})
	}
}

// Only the very same term, process and heartbeat count as unchanged.
func TestObserveLease(t *testing.T) {
	then, now := time.Now().Add(-time.Minute), time.Now()
	old := unchangedLease{lease{7, "other", 3}, then, time.Second}
	for name, tc := range map[string]struct {
		old  unchangedLease
		seen lease
		want time.Time
	}{
		"the same":          {old, lease{7, "other", 3}, then},
		"another heartbeat": {old, lease{7, "other", 4}, now},
		"another term":      {old, lease{8, "other", 3}, now},
		"another process":   {old, lease{7, "third", 3}, now},
		"never seen":        {unchangedLease{}, lease{7, "other", 3}, now},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.old.observe(tc.seen, time.Second, now); !got.since.Equal(tc.want) || got.lease != tc.seen {
				t.Errorf("observe = %+v, want since %v", got, tc.want)
			}
		})
	}
}
