package telemetry_test

import (
	"net/http"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/telemetry"
)

// BenchmarkSpan makes the span of a commit of 100 events, with a collector that
// takes them all.
func BenchmarkSpan(b *testing.B) {
	url := serve(b, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	c, err := telemetry.FromEnviron([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + url})
	if err != nil {
		b.Fatal(err)
	}
	traces, err := telemetry.New(c, telemetry.Options{Connection: "gerrit", Stream: "gerrit"})
	if err != nil {
		b.Fatal(err)
	}
	defer traces.Close(patience)
	commit := &gerritstream.Commit{Entries: make([]gerritstream.Entry, 100)}
	for i := range commit.Entries {
		commit.Entries[i] = gerritstream.Entry{Seq: "49640000000000000000000000000000000000000000000000000001"}
	}
	b.ReportAllocs()
	for b.Loop() {
		s := traces.Commit("shardId-000000000000", 7)
		_ = s.Traceparent()
		s.End(commit, consumer.Committed, nil)
	}
}
