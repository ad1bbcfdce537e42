package lease

import (
	"testing"
	"time"
)

func TestMayTake(t *testing.T) {
	const ttl = 5 * time.Second
	now := time.Now()
	for name, tc := range map[string]struct {
		lease    Lease
		seenFor  time.Duration
		leading  bool
		preceded bool
		want     bool
	}{
		"never held":                             {Lease{}, 0, false, false, true},
		"resigned":                               {Lease{Term: 7}, 0, false, false, true},
		"resigned, first seen after now":         {Lease{Term: 7}, -time.Millisecond, false, false, true},
		"another's, first seen after now":        {Lease{7, "other", 1}, -time.Millisecond, false, false, false},
		"resigned, we are about to know":         {Lease{Term: 7}, 0, true, false, false},
		"another's, just seen":                   {Lease{7, "other", 1}, 0, false, false, false},
		"another's, seen for nearly a TTL":       {Lease{7, "other", 1}, ttl - time.Nanosecond, false, false, false},
		"another's, seen for a TTL":              {Lease{7, "other", 1}, ttl, false, false, true},
		"ours, and we lead":                      {Lease{7, "self", 1}, time.Hour, true, false, false},
		"ours, from a term that ended":           {Lease{7, "self", 1}, 0, false, false, true},
		"resigned, and another precedes":         {Lease{Term: 7}, ttl - time.Nanosecond, false, true, false},
		"left by the first candidate":            {Lease{Term: 7}, ttl, false, true, true},
		"another's, and another precedes":        {Lease{7, "other", 1}, 2*ttl - time.Nanosecond, false, true, false},
		"another's, left by the first candidate": {Lease{7, "other", 1}, 2 * ttl, false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := unchanged{tc.lease, now.Add(-tc.seenFor), ttl}
			if got := l.mayTake("self", tc.leading, tc.preceded, now); got != tc.want {
				t.Errorf("mayTake = %v, want %v", got, tc.want)
			}
		})
	}
}

// Only the very same term, process and heartbeat count as unchanged.
func TestObserveLease(t *testing.T) {
	then, now := time.Now().Add(-time.Minute), time.Now()
	old := unchanged{Lease{7, "other", 3}, then, time.Second}
	for name, tc := range map[string]struct {
		old  unchanged
		seen Lease
		want time.Time
	}{
		"the same":          {old, Lease{7, "other", 3}, then},
		"another heartbeat": {old, Lease{7, "other", 4}, now},
		"another term":      {old, Lease{8, "other", 3}, now},
		"another process":   {old, Lease{7, "third", 3}, now},
		"never seen":        {unchanged{}, Lease{7, "other", 3}, now},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.old.observe(tc.seen, time.Second, now); !got.since.Equal(tc.want) || got.lease != tc.seen {
				t.Errorf("observe = %+v, want since %v", got, tc.want)
			}
		})
	}
}
