package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

// swiftTerm is a Term whose commits take no time.
type swiftTerm struct{ gerritstream.Term }

func (swiftTerm) Number() uint64 { return 7 }
func (swiftTerm) Limits() gerritstream.Limits {
	return gerritstream.Limits{Items: 100, Weight: 600_000}
}
func (swiftTerm) Commit(context.Context, gerritstream.Commit) error { return nil }

// swiftReader returns a reader whose commits take no time, and a page of 100
// records of 2 KB.
func swiftReader(tb testing.TB, cfg Config) (*reader, *gerritstream.Page) {
	tb.Helper()
	cfg.Source, cfg.Store = struct{ gerritstream.Source }{}, struct{ gerritstream.Store }{}
	c, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	shard := gerritstream.ShardID("shardId-000000000000")
	w := &worker{
		c: c, cfg: &c.cfg, log: slog.New(slog.DiscardHandler), shard: shard,
		origin: &gerritstream.Origin{Stream: gerritstream.Stream{ARN: "arn:aws:kinesis:us-west-2:1:stream/gerrit"}},
	}
	r := &reader{c: c, cfg: &c.cfg, w: w, term: swiftTerm{}, work: tb.Context(), reading: tb.Context()}
	page := &gerritstream.Page{}
	for i := range 100 {
		page.Records = append(page.Records, gerritstream.Record{
			Seq: gerritstream.SequenceNumber(fmt.Sprintf("4964%052d", i)), Sub: gerritstream.NoSub, Last: true,
			Arrived: time.UnixMilli(1_795_541_048_364), Data: make([]byte, 2048),
		})
	}
	return r, page
}

// sameSpan is a Tracer, and the one span that it has.
type sameSpan struct{}

func (s sameSpan) Commit(gerritstream.ShardID, uint64) Span { return s }
func (sameSpan) Retried(error)                              {}
func (sameSpan) End(*gerritstream.Commit, Outcome, error)   {}
func (sameSpan) Traceparent() string {
	return "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
}

// BenchmarkPage judges and commits 100 records of 2 KB to a store that takes no
// time: what the reader itself needs, without and with spans.
func BenchmarkPage(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchmarkPage(b, Config{}) })
	b.Run("spans", func(b *testing.B) { benchmarkPage(b, Config{Tracer: sameSpan{}}) })
}

func benchmarkPage(b *testing.B, cfg Config) {
	r, page := swiftReader(b, cfg)
	b.ReportAllocs()
	for b.Loop() {
		r.cursor = gerritstream.Position{}
		if err := r.judge(page); err != nil {
			b.Fatal(err)
		}
		if err := r.commit(); err != nil {
			b.Fatal(err)
		}
	}
}
