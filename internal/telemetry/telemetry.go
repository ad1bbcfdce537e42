// Package telemetry sends a span of each commit to an OpenTelemetry collector.
// OpenTelemetry's SDK ends here.
//
// It is configured by OpenTelemetry's own variables (see FromEnviron), and is
// off unless they name an endpoint. Spans are a courtesy: they are kept in a
// queue of bounded length and sent in the background. What a collector that is
// slow or away does not take is counted and dropped, and no commit waits.
//
// The exporter is this package's own, because the one that OpenTelemetry offers
// for HTTP brings gRPC along: traces would add almost three times as many bytes
// to the program, and most of the dependencies.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/traceparent"
)

// scope names what makes the spans.
const scope = "github.com/gerritstream/gerritstream"

// Options are what the spans of a process say about it.
type Options struct {
	Version    string
	Process    string
	Host       string
	Connection string
	Stream     string // name or ARN
	System     string // the kind of the store
	Logger     *slog.Logger
}

// Traces makes and sends the spans of a process. It is a consumer.Tracer.
type Traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	exporter *exporter
	common   trace.SpanStartEventOption // what all spans say
	made     atomic.Int64               // sampled spans that have ended
}

var _ consumer.Tracer = (*Traces)(nil)

// New begins to send spans in the background, until Close. The configuration
// must be on.
func New(c *Config, o Options) (*Traces, error) {
	about, err := resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithAttributes(append(
		[]attribute.KeyValue{
			attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", o.Process),
			attribute.String("host.name", o.Host),
		}, c.attributes...)...)) // of two values for a name the last counts
	if err != nil {
		return nil, fmt.Errorf("describe this process to the collector: %w", err)
	}
	t := &Traces{exporter: newExporter(c, o.Logger)}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithSampler(c.sampler),
		sdktrace.WithSpanProcessor(sdktrace.NewBatchSpanProcessor(t.exporter,
			sdktrace.WithBatchTimeout(c.batch.delay),
			sdktrace.WithExportTimeout(c.batch.timeout),
			sdktrace.WithMaxQueueSize(c.batch.queue),
			sdktrace.WithMaxExportBatchSize(c.batch.size),
		)),
	)
	t.tracer = t.provider.Tracer(scope, trace.WithInstrumentationVersion(o.Version))
	t.common = trace.WithAttributes(
		attribute.String("messaging.system", o.System),
		attribute.String("messaging.destination.name", o.Connection),
		attribute.String("messaging.operation.name", "commit"),
		attribute.String("messaging.operation.type", "send"),
		attribute.String("gerritstream.stream", o.Stream),
	)
	return t, nil
}

// Close sends what is left, for as long as limit, and stops. What was not sent
// is logged, if that was not known yet.
func (t *Traces) Close(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // the exporter fails at nothing but time
	t.exporter.close()
	if n := t.Counts(); n.Sent < n.Made {
		t.exporter.log.Info("some spans were not sent", "spans", n.Made-n.Sent, "of", n.Made)
	}
}

// Counts are numbers of sampled spans since the start. Those that are neither
// sent nor failed wait, or did not fit into the queue.
type Counts struct{ Made, Sent, Failed int64 }

// Counts returns what has become of the spans.
func (t *Traces) Counts() Counts {
	failed, sent := t.exporter.failed.Load(), t.exporter.sent.Load() // before what they are part of
	return Counts{Made: t.made.Load(), Sent: sent, Failed: failed}
}

// Commit begins the span of a commit. It is the first of its trace: what other
// programs do with the commit's events is linked to it or belongs to it.
func (t *Traces) Commit(shard gerritstream.ShardID, term uint64) consumer.Span {
	_, span := t.tracer.Start(context.Background(), "commit", trace.WithSpanKind(trace.SpanKindProducer), t.common)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("gerritstream.shard", string(shard)),
			attribute.Int64("gerritstream.term", int64(term)), //nolint:gosec // a term takes a second or more
		)
	}
	return &commitSpan{traces: t, span: span}
}

// commitSpan is the span of a commit.
type commitSpan struct {
	traces *Traces
	span   trace.Span
}

// Traceparent identifies the span, if it is sampled.
func (s *commitSpan) Traceparent() string {
	is := s.span.SpanContext()
	if !is.IsSampled() {
		return ""
	}
	return traceparent.Context{Trace: is.TraceID(), Span: is.SpanID(), Flags: byte(is.TraceFlags())}.String()
}

// Retried adds an event to the span.
func (s *commitSpan) Retried(err error) {
	s.span.AddEvent("retried", trace.WithAttributes(attribute.String("exception.message", err.Error())))
}

// End describes the commit and what became of it. A stop that cuts a commit off
// before anything was written is no error.
func (s *commitSpan) End(c *gerritstream.Commit, outcome consumer.Outcome, err error) {
	if s.span.IsRecording() {
		s.span.SetAttributes(describe(c)...)
		s.span.SetAttributes(attribute.String("gerritstream.outcome", string(outcome)))
		if err != nil && (outcome == consumer.Unknown || !errors.Is(err, context.Canceled)) {
			s.span.RecordError(err)
			s.span.SetStatus(codes.Error, err.Error())
		}
	}
	if s.span.SpanContext().IsSampled() {
		s.traces.made.Add(1)
	}
	s.span.End()
}

// describe returns what a commit carries.
func describe(c *gerritstream.Commit) []attribute.KeyValue {
	size := 0
	var first, last gerritstream.SequenceNumber
	carries := func(seq gerritstream.SequenceNumber) {
		if first == "" || seq.Compare(first) < 0 {
			first = seq
		}
		if last == "" || seq.Compare(last) > 0 {
			last = seq
		}
	}
	for i := range c.Entries {
		size += len(c.Entries[i].Payload)
		carries(c.Entries[i].Seq)
	}
	for i := range c.DeadLetters {
		carries(c.DeadLetters[i].Seq)
	}
	is := []attribute.KeyValue{
		attribute.Int("messaging.batch.message_count", len(c.Entries)),
		attribute.Int("gerritstream.bytes", size),
		attribute.Int("gerritstream.dead_letters", len(c.DeadLetters)),
	}
	if first != "" {
		is = append(is, attribute.String("gerritstream.seq.first", string(first)),
			attribute.String("gerritstream.seq.last", string(last)))
	}
	return is
}
