package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// patience is how long a request may go without any progress: no connection, no
// reply, no further byte of it. A reply may take as long and, beyond that, what
// its bytes take at leastRate: one that trickles is as good as none.
const (
	progressTimeout = 10 * time.Second
	minRate         = 4 << 10 // bytes a second
)

var (
	errStalled  = fmt.Errorf("no progress for %s", progressTimeout)
	errTrickles = fmt.Errorf("the reply comes at less than %d bytes a second", minRate)
)

// exchange is one attempt at a request, as seen by the HTTP client. It belongs
// to the attempt's goroutine.
type exchange struct {
	began    time.Time
	answered time.Time // when the reply's header had come; zero: there is none
	date     time.Time // the reply's Date; zero: it has none
	stalled  *time.Timer
	trickles atomic.Bool // set before stalled fires for that
}

// why is what is wrong when stalled fires.
func (x *exchange) why() error {
	if x.trickles.Load() {
		return errTrickles
	}
	return errStalled
}

// now is the service's time, not later than the moment at which the request
// began: Date, which has whole seconds, less one, less the request's duration.
// Zero: the reply did not tell.
func (x *exchange) now() time.Time {
	if x.date.IsZero() {
		return time.Time{}
	}
	return x.date.Add(-time.Second - x.answered.Sub(x.began)).UTC()
}

// skew is how far the service's clock is ahead of the local one. ok is false
// when the reply did not tell.
func (x *exchange) skew() (ahead time.Duration, ok bool) {
	if x.date.IsZero() {
		return 0, false
	}
	halfway := x.began.Add(x.answered.Sub(x.began) / 2)
	return x.date.Add(500 * time.Millisecond).Sub(halfway), true
}

type exchangeKey struct{}

// watchedClient shows each request's exchange what comes back. Every request to
// AWS goes through one, for it also gives net/http a body that it can copy.
type watchedClient struct{ next awskinesis.HTTPClient }

// Do implements the SDK's HTTPClient.
func (c watchedClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = readOnlyBody{r.Body}
	}
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	if x == nil {
		return c.next.Do(r)
	}
	x.began = time.Now()
	resp, err := c.next.Do(r)
	if err != nil {
		return resp, err
	}
	x.answered = time.Now()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		x.date = date
	}
	x.stalled.Reset(progressTimeout)
	resp.Body = &watchedBody{ReadCloser: resp.Body, exchange: x}
	return resp, nil
}

// readOnlyBody hides the WriteTo of the SDK's request bodies. The SDK closes a
// body when the reply's header has come, and WriteTo then answers with io.EOF
// as an error. net/http may still be looking for bytes beyond the body's
// length, takes that for a broken upload, and closes the connection under the
// reply. Read answers with io.EOF too, which for Read is the regular end.
type readOnlyBody struct{ body io.ReadCloser }

func (b readOnlyBody) Read(p []byte) (int, error) { return b.body.Read(p) }

func (b readOnlyBody) Close() error { return b.body.Close() }

// watchedBody notes the progress of a reply.
type watchedBody struct {
	io.ReadCloser
	exchange *exchange
	bytes    int64 // that have come
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && err == nil {
		b.bytes += int64(n)
		may := progressTimeout + time.Duration(b.bytes)*time.Second/minRate
		left := time.Until(b.exchange.answered.Add(may))
		b.exchange.trickles.Store(left < progressTimeout)
		b.exchange.stalled.Reset(min(left, progressTimeout))
	}
	return n, err
}

// target is what a request is about.
type target struct {
	operation string // "GetRecords"
	shard     string // "": the stream
}

// attempt makes one request, observes it, and returns the service's time. Its
// error is the context's, or an *Error.
func (s *Source) attempt(ctx context.Context, t target, send func(context.Context) error) (time.Time, error) {
	now, skewed, err := s.try(ctx, t, send)
	if skewed { // the SDK has learnt how wrong the local clock is, and signs with the right time from now on
		now, _, err = s.try(ctx, t, send)
	}
	return now, err
}

// skewLimit is the error of the local clock from which on signatures are
// refused: AWS allows five minutes.
const skewLimit = 4 * time.Minute

func (s *Source) try(ctx context.Context, t target, send func(context.Context) error) (now time.Time, skewed bool, err error) {
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x := &exchange{began: time.Now()}
	x.stalled = time.AfterFunc(progressTimeout, func() { cancel(x.why()) })
	defer x.stalled.Stop()

	began := time.Now()
	err = send(context.WithValue(watched, exchangeKey{}, x))
	took := time.Since(began)
	ahead, known := x.skew()
	if known {
		s.observer.ClockSkew(ahead)
	}
	if err == nil {
		s.observer.Request(t.operation, "OK", took)
		return x.now(), false, nil
	}
	if ctx.Err() != nil {
		s.observer.Request(t.operation, "Canceled", took)
		return time.Time{}, false, ctx.Err()
	}
	failed, label := s.explain(t, err, context.Cause(watched))
	s.observer.Request(t.operation, label, took)
	if failed.class == denied {
		s.credentials.forget()
	}
	return x.now(), failed.class == denied && known && ahead.Abs() > skewLimit, failed
}

// explain makes an Error of what the SDK returned, and its label for the
// Observer. cause is why the request's context ended.
func (s *Source) explain(t target, err, cause error) (*Error, string) {
	e := &Error{Operation: "kinesis:" + t.operation, Resource: s.resource(t.shard)}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) {
		e.Status = answer.HTTPStatusCode()
	}
	var identified interface{ ServiceRequestID() string }
	if errors.As(err, &identified) {
		e.RequestID = identified.ServiceRequestID()
	}
	var api smithy.APIError
	var broken *syntaxError
	var lacking malformedError
	var missing *credentialsError
	label := "Network"
	switch {
	case errors.As(err, &missing):
		label = "Credentials"
		missing.explain(e)
	case errors.As(err, &api):
		e.Code, e.Message = api.ErrorCode(), firstLine(api.ErrorMessage())
		e.class = classify(e.Code, e.Status)
		label = e.Code
		if _, known := classes[e.Code]; !known {
			label = "Other"
		}
	case errors.Is(err, errTooLarge):
		label, e.class, e.Message = "TooLarge", tooLarge, errTooLarge.Error()
	case errors.Is(err, errNoRoom):
		label, e.class, e.Message = "NoRoom", noRoom, errNoRoom.Error()
	case errors.As(err, &broken):
		label, e.Message = "Malformed", "the reply is "+broken.Error()
	case errors.As(err, &lacking):
		label, e.Message = "Malformed", lacking.Error()
	case errors.Is(err, errArrival):
		label, e.Message = "Malformed", errArrival.Error()
	case errors.Is(cause, errStalled), errors.Is(cause, errTrickles):
		label, e.Message, e.cause = "Timeout", cause.Error(), cause
	default:
		e.Message, e.cause = networkProblem(err)
		e.class = classify("", e.Status)
	}
	e.is = e.class.sentinel()
	return e, label
}

// networkTrouble finds the plain words in what the SDK and net/http wrap around
// them.
func networkProblem(err error) (message string, cause error) {
	var at *url.Error
	if errors.As(err, &at) {
		host := "the URL"
		if u, err := url.Parse(at.URL); err == nil {
			host = u.Host
		}
		return firstLine(host + ": " + at.Err.Error()), at.Err
	}
	cause = err
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		cause = inner
	}
	var reply *smithyhttp.ResponseError
	if errors.As(err, &reply) && reply.Response != nil {
		return firstLine(reply.Response.Status + ": " + cause.Error()), cause
	}
	return firstLine(cause.Error()), cause
}
