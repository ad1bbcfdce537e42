// Package telemetrytest has a collector of OpenTelemetry's traces for tests,
// which reads what it gets with OpenTelemetry's own types.
package telemetrytest

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	traces "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span that a Collector got.
type Span struct {
	Process    map[string]any // what its resource says
	Scope      string
	Trace      string // 32 hexadecimal digits
	ID         string // 16 hexadecimal digits
	Parent     string
	Name       string
	Kind       traces.Span_SpanKind
	Start, End time.Time
	Attributes map[string]any
	Events     []string
	Failed     bool
	Status     string
	Flags      uint32
}

// Traceparent returns the value that what belongs to the span carries.
func (s *Span) Traceparent() string { return fmt.Sprintf("00-%s-%s-%02x", s.Trace, s.ID, s.Flags&0xff) }

// Collector is an http.Handler. Its methods may be called by several goroutines
// at once.
type Collector struct {
	// Answer, if not nil, answers the nth request, from 1, in place of the
	// Collector, whose spans then do not count; false: it leaves that to the
	// Collector.
	Answer func(w http.ResponseWriter, r *http.Request, n int) bool

	mu       sync.Mutex
	spans    []Span        // under mu
	requests []http.Header // under mu
	faults   []error       // under mu
}

// Spans returns what has come.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Requests returns the headers of all requests.
func (c *Collector) Requests() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}

// Faults returns what was wrong with requests.
func (c *Collector) Faults() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.faults)
}

// ServeHTTP takes a request.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.requests = append(c.requests, r.Header.Clone())
	n := len(c.requests)
	c.mu.Unlock()
	if c.Answer != nil && c.Answer(w, r, n) {
		return
	}
	spans, err := read(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.faults = append(c.faults, err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.spans = append(c.spans, spans...)
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty message
}

// read reads a request as the specification has it.
func read(r *http.Request) (spans []Span, err error) {
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		return nil, fmt.Errorf("%s of %q", r.Method, r.Header.Get("Content-Type"))
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	var request collector.ExportTraceServiceRequest
	if err := (proto.UnmarshalOptions{}).Unmarshal(data, &request); err != nil {
		return nil, err
	}
	for _, of := range request.GetResourceSpans() {
		for _, by := range of.GetScopeSpans() {
			for _, s := range by.GetSpans() {
				if len(s.GetTraceId()) != 16 || len(s.GetSpanId()) != 8 || len(s.ProtoReflect().GetUnknown()) > 0 {
					return nil, fmt.Errorf("a span is %v", s)
				}
				spans = append(spans, spanOf(of, by, s))
			}
		}
	}
	return spans, nil
}

func spanOf(of *traces.ResourceSpans, by *traces.ScopeSpans, s *traces.Span) Span {
	is := Span{
		Process:    valuesOf(of.GetResource().GetAttributes()),
		Scope:      by.GetScope().GetName() + " " + by.GetScope().GetVersion(),
		Trace:      hex.EncodeToString(s.GetTraceId()),
		ID:         hex.EncodeToString(s.GetSpanId()),
		Parent:     hex.EncodeToString(s.GetParentSpanId()),
		Name:       s.GetName(),
		Kind:       s.GetKind(),
		Start:      time.Unix(0, int64(s.GetStartTimeUnixNano())), //nolint:gosec // of our time
		End:        time.Unix(0, int64(s.GetEndTimeUnixNano())),   //nolint:gosec // of our time
		Attributes: valuesOf(s.GetAttributes()),
		Failed:     s.GetStatus().GetCode() == traces.Status_STATUS_CODE_ERROR,
		Status:     s.GetStatus().GetMessage(),
		Flags:      s.GetFlags(),
	}
	for _, e := range s.GetEvents() {
		is.Events = append(is.Events, fmt.Sprint(e.GetName(), " ", valuesOf(e.GetAttributes())))
	}
	return is
}

func valuesOf(all []*common.KeyValue) map[string]any {
	values := make(map[string]any, len(all))
	for _, a := range all {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			values[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			values[a.GetKey()] = v.IntValue
		default:
			values[a.GetKey()] = fmt.Sprint(v)
		}
	}
	return values
}
