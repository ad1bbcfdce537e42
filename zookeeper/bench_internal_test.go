package zookeeper

import (
	"testing"
	"time"
)

// BenchmarkEnvelope encodes an event of 2.1 KB as Zuul reads it.
func BenchmarkEnvelope(b *testing.B) {
	e := testEntry(string(make([]byte, 2100)))
	now := time.Now()
	buf := make([]byte, 0, 4096)
	b.SetBytes(int64(len(e.Payload)))
	b.ReportAllocs()
	for b.Loop() {
		buf = appendEnvelope(buf[:0], e, now)
	}
}
