package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// The pauses between attempts to send, if the collector names none.
const (
	firstPause = time.Second
	mostPause  = 5 * time.Second
)

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 64 << 10

// exporter posts spans to a collector as OTLP over HTTP has it, in protobuf.
// The SDK calls it from one goroutine at a time.
type exporter struct {
	config *Config
	client *http.Client
	log    *slog.Logger
	ended  context.Context // ends with close: nothing more is sent
	close  context.CancelFunc

	sent, failed atomic.Int64 // spans
	failing      bool         // the last export failed, which was logged; of the SDK's goroutine
	lost         int64        // spans since it fails; likewise
}

var _ sdktrace.SpanExporter = (*exporter)(nil)

func newExporter(c *Config, log *slog.Logger) *exporter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	x := &exporter{config: c, client: newClient(c), log: log.With("collector", c.Host())}
	ended, end := context.WithCancel(context.Background())
	x.ended, x.close = ended, func() {
		end()
		x.client.CloseIdleConnections()
	}
	return x
}

// newClient returns a client that follows no redirect: the headers are a
// secret.
func newClient(c *Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     c.tls,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 1,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Shutdown does nothing: see close.
func (x *exporter) Shutdown(context.Context) error { return nil }

// ExportSpans posts spans, and repeats that while there is time and the
// collector may yet take them. It handles its errors itself: the first of a row
// is logged, and so is its end.
func (x *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithTimeout(ctx, x.config.timeout)
	defer cancel()
	defer context.AfterFunc(x.ended, cancel)()
	rejected, err := x.send(ctx, encode(spans))
	n := int64(len(spans))
	switch rejected = min(rejected, n); {
	case err != nil:
		rejected = n
	case rejected > 0:
		err = errors.New("the collector took a part of the spans only")
	}
	x.failed.Add(rejected)
	x.sent.Add(n - rejected)
	switch {
	case x.ended.Err() != nil: // Close says how many were not sent
	case err != nil:
		x.lost += rejected
		if !x.failing {
			x.failing = true
			x.log.Warn("cannot send spans; they are dropped until it takes them again", "err", err)
		}
	case x.failing:
		x.log.Info("spans are sent again", "dropped", x.lost)
		x.failing, x.lost = false, 0
	}
	return nil
}

// send posts a request until it is taken, refused for good, or ctx ends. It
// returns how many spans the collector did not take.
func (x *exporter) send(ctx context.Context, request []byte) (rejected int64, err error) {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		rejected, after, err := x.post(ctx, request)
		var refusal *refused
		if err == nil || errors.As(err, &refusal) && !refusal.mayPass() {
			return rejected, err
		}
		timer := time.NewTimer(max(pause, after))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, err
		}
	}
}

// refused is an answer that is no success.
type refused struct{ status int }

func (e *refused) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the collector answered %d %s", e.status, http.StatusText(e.status)))
}

// mayPass reports whether the same request may be taken later, as OTLP has it.
func (e *refused) mayPass() bool {
	switch e.status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// post posts a request once. An error has neither the URL nor what the
// collector wrote: either may have secrets.
func (x *exporter) post(ctx context.Context, request []byte) (rejected int64, after time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, x.config.endpoint.String(), nil)
	if err != nil {
		return 0, 0, errors.New("the endpoint cannot be used") // it was parsed before
	}
	r.Header = x.config.headers.Clone()
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", "gerritstream")
	if x.config.gzip {
		r.Header.Set("Content-Encoding", "gzip")
		request = compressed(request)
	}
	r.ContentLength, r.Body = int64(len(request)), io.NopCloser(bytes.NewReader(request))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(request)), nil }
	answer, err := x.client.Do(r)
	if err != nil {
		if asURL, ok := errors.AsType[*url.Error](err); ok {
			err = asURL.Err
		}
		return 0, 0, err
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // only what it rejects would be missed
	if answer.StatusCode/100 == 2 {
		return rejectedOf(body), 0, nil
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
		after = time.Duration(min(max(seconds, 0), 3600)) * time.Second
	}
	return 0, after, &refused{answer.StatusCode}
}

func compressed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // into memory
	_ = w.Close()
	return out.Bytes()
}

// The fields of an answer: ExportTraceServiceResponse.partial_success, and
// ExportTracePartialSuccess.rejected_spans.
const (
	answerPartialSuccess = 1
	partialRejectedSpans = 1
)

// rejectedOf returns how many spans an answer says it did not take.
func rejectedOf(answer []byte) int64 {
	partial, _ := field(answer, answerPartialSuccess, protowire.BytesType)
	_, n := field(partial, partialRejectedSpans, protowire.VarintType)
	return max(0, int64(n)) //nolint:gosec // what is too large is negative, and counts for nothing
}

// field returns the last value of a field of a message, or nothing.
func field(b []byte, wanted protowire.Number, kind protowire.Type) (content []byte, number uint64) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return content, number
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(num, typ, b)
		if size < 0 {
			return content, number
		}
		if num == wanted && typ == kind {
			switch kind {
			case protowire.BytesType:
				content, _ = protowire.ConsumeBytes(b)
			case protowire.VarintType:
				number, _ = protowire.ConsumeVarint(b)
			}
		}
		b = b[size:]
	}
	return content, number
}

// Try posts a request without spans: a collector that would take spans takes
// it.
func Try(ctx context.Context, c *Config) error {
	x := newExporter(c, nil)
	defer x.close()
	_, _, err := x.post(ctx, nil)
	return err
}
