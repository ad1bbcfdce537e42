package zookeeper

import (
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

// BenchmarkEnvelope encodes an event of 2.1 KB as Zuul reads it, without and
// with a span.
func BenchmarkEnvelope(b *testing.B) {
	e := testEntry(string(make([]byte, 2100)))
	b.Run("plain", func(b *testing.B) { benchmarkEnvelope(b, e) })
	withSpan(e, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	b.Run("span", func(b *testing.B) { benchmarkEnvelope(b, e) })
}

func benchmarkEnvelope(b *testing.B, e *gerritstream.Entry) {
	now := time.Now()
	buf := make([]byte, 0, 4096)
	b.SetBytes(int64(len(e.Payload)))
	b.ReportAllocs()
	for b.Loop() {
		buf = appendEnvelope(buf[:0], e, now)
	}
}
