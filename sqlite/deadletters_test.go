package sqlite_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/gerritstream/gerritstream"
)

// The dead letters of a full file, all of the largest size, are listed a few at
// a time: memory does not grow with their number.
func TestDeadLettersAreListedAFewAtATime(t *testing.T) {
	s := newShared(t)
	const many = 512 // of 64 KiB: as many as a file holds
	s.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
		INSERT INTO dead_letters (id, shard, seq, sub, arrived, reason, detail, payload, length, sha256, put_aside_at)
		SELECT randomblob(16), 'shardId-000000000000', cast(i AS TEXT), -1, 0, 'utf8', '', zeroblob(?2), ?2, zeroblob(32), 0 FROM n`,
		many, gerritstream.MaxDeadLetterBytes)
	o := s.operator()
	defer func() { closed(t, o.Close(context.WithoutCancel(t.Context()))) }()
	idle, n := reachable(), 0
	for l, err := range o.DeadLetters(t.Context()) {
		must(t, err)
		if n++; n%64 == 0 {
			if took := reachable() - idle; took > 4<<20 {
				t.Errorf("%d MiB are in use at the %dth of %d dead letters", took>>20, n, many)
			}
		}
		if len(l.DeadLetter.Payload) != gerritstream.MaxDeadLetterBytes {
			t.Errorf("a dead letter has %d bytes", len(l.DeadLetter.Payload))
		}
	}
	if n != many {
		t.Errorf("%d dead letters were listed, want %d", n, many)
	}
}

// reachable is how much memory is in use.
func reachable() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far from overflowing
}
