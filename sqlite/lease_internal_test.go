package sqlite

import (
	"testing"
	"time"
)

func TestMayTake(t *testing.T) {
	const ttl = 5 * time.Second
	now := time.Now()
	for name, tc := range map[string]struct {
		lease   lease
		seenFor time.Duration
		leading bool
		behind  bool
		want    bool
	}{
		"never held":                       {lease{}, 0, false, false, true},
		"resigned":                         {lease{term: 7}, 0, false, false, true},
		"resigned, we are about to know":   {lease{term: 7}, 0, true, false, false},
		"another's, just seen":             {lease{7, "other", 1}, 0, false, false, false},
		"another's, seen for nearly a TTL": {lease{7, "other", 1}, ttl - time.Nanosecond, false, false, false},
		"another's, seen for a TTL":        {lease{7, "other", 1}, ttl, false, false, true},
		"ours, and we lead":                {lease{7, "self", 1}, time.Hour, true, false, false},
		"ours, from a term that ended":     {lease{7, "self", 1}, 0, false, false, true},
		"resigned, and another is first":   {lease{term: 7}, ttl - time.Nanosecond, false, true, false},
		"left by who was first":            {lease{term: 7}, ttl, false, true, true},
		"another's, and another is first":  {lease{7, "other", 1}, 2*ttl - time.Nanosecond, false, true, false},
		"another's, left by who was first": {lease{7, "other", 1}, 2 * ttl, false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := sighting{tc.lease, now.Add(-tc.seenFor), ttl}
			if got := l.mayTake("self", tc.leading, tc.behind, now); got != tc.want {
				t.Errorf("mayTake = %v, want %v", got, tc.want)
			}
		})
	}
}

// Only the very same term, process and beat count as unchanged.
func TestSight(t *testing.T) {
	then, now := time.Now().Add(-time.Minute), time.Now()
	old := sighting{lease{7, "other", 3}, then, time.Second}
	for name, tc := range map[string]struct {
		old  sighting
		seen lease
		want time.Time
	}{
		"the same":        {old, lease{7, "other", 3}, then},
		"another beat":    {old, lease{7, "other", 4}, now},
		"another term":    {old, lease{8, "other", 3}, now},
		"another process": {old, lease{7, "third", 3}, now},
		"never seen":      {sighting{}, lease{7, "other", 3}, now},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sight(tc.old, tc.seen, time.Second, now); !got.since.Equal(tc.want) || got.lease != tc.seen {
				t.Errorf("sight = %+v, want since %v", got, tc.want)
			}
		})
	}
}

func TestJudgeFilesystem(t *testing.T) {
	for magic, want := range map[uint32]footing{
		0x6969: remote, 0xff534d42: remote, 0xfe534d42: remote, 0x517b: remote, 0x01021997: remote, 0x00c36400: remote,
		0x0bd00bd0: remote, 0x65735546: remote,
		0x01021994: volatile, 0x794c7630: volatile,
		0xef53: solid, 0x58465342: solid, 0x9123683e: solid, 0x2fc12fc1: solid, // ext4, XFS, Btrfs, ZFS
	} {
		name, got := judgeFilesystem(magic)
		if got != want || (name == "") != (want == solid) {
			t.Errorf("judgeFilesystem(%#x) = %q, %v, want %v", magic, name, got, want)
		}
	}
}
