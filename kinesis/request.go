package kinesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// target is what a request is about.
type target struct {
	operation string // "GetRecords"
	shard     string // "": the stream
}

const (
	persistFor   = 3 * time.Second
	persistTimes = 3
)

// persist is attempt for callers that are waiting: it retries transient
// failures briefly.
func (s *Source) persist(ctx context.Context, t target, send func(context.Context) error) (time.Time, error) {
	began := time.Now()
	for tried := 1; ; tried++ {
		now, err := s.attempt(ctx, t, send)
		c := errClass(err)
		if err == nil || ctx.Err() != nil || c != transient && c != throttled ||
			tried == persistTimes || time.Since(began) > persistFor {
			return now, err
		}
		s.log.Debug("retrying request", "operation", t.operation, "err", err)
		bound := firstBound << (tried - 1)
		if err := sleep(ctx, bound/2+rand.N(bound/2)); err != nil { //nolint:gosec // jitter is no secret
			return now, err
		}
	}
}

// attempt makes one request, shows it to the Observer, and returns the
// service's time. Its error is the context's, or an *Error.
func (s *Source) attempt(ctx context.Context, t target, send func(context.Context) error) (time.Time, error) {
	now, skewed, err := s.try(ctx, t, send)
	// After a refusal a poller leaves the next request to the SDK. After a
	// refusal the SDK knows the error of the local clock, and signs with the
	// right time.
	for tried := 1; skewed && tried < 3; tried++ {
		now, skewed, err = s.try(ctx, t, send)
	}
	return now, err
}

// skewLimit is the error of the local clock from which a refusal is blamed on
// it: AWS allows five minutes.
const skewLimit = 4 * time.Minute

// try is attempt without a second try. skewed reports that the service probably
// refused the request for the local clock's error.
func (s *Source) try(ctx context.Context, t target, send func(context.Context) error) (
	now time.Time, skewed bool, err error,
) {
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x := &exchange{began: time.Now()}
	x.stalled = time.AfterFunc(progressTimeout, func() {
		if x.trickles.Load() {
			cancel(errTrickles)
			return
		}
		cancel(errStalled)
	})
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
		return x.serviceTime(), false, nil
	}
	if ctx.Err() != nil {
		s.observer.Request(t.operation, "Canceled", took)
		return time.Time{}, false, ctx.Err()
	}
	failed, label := s.explain(t, err, context.Cause(watched))
	s.observer.Request(t.operation, label, took)
	if failed.class == denied {
		s.credentials.invalidate()
	}
	return x.serviceTime(), failed.class == denied && known && ahead.Abs() > skewLimit, failed
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
	var unusable *replyError
	var missing *credentialsError
	label := "Network"
	switch {
	case errors.As(err, &missing):
		label = "Credentials"
		e.kind = trouble.AccessDenied
		missing.explain(e)
	case errors.As(err, &api):
		e.Code, e.Message = api.ErrorCode(), firstLine(api.ErrorMessage())
		e.class = classify(e.Code, e.Status)
		label = e.Code
		if _, known := classes[e.Code]; !known {
			label = "Other"
		}
	case errors.As(err, &unusable):
		label, e.class, e.Message, e.kind = unusable.label, unusable.class, unusable.message, trouble.SourceFails
	case errors.Is(cause, errStalled), errors.Is(cause, errTrickles), errors.Is(cause, errSilent):
		label, e.Message, e.cause = "Timeout", cause.Error(), cause
	default:
		e.Message, e.cause = networkProblem(err)
		e.class = classify("", e.Status)
	}
	if e.class == denied || e.class == keyDenied {
		e.is = gerritstream.ErrDenied
	}
	return e, label
}

// networkProblem unwraps what the SDK and net/http put around the plain words
// of an error.
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

// resource names the stream, or a shard of it, in errors.
func (s *Source) resource(shard string) string {
	name := s.stream
	if arn := s.arn.Load(); arn != nil {
		name = *arn
	}
	if shard != "" {
		name += "/" + shard
	}
	return name
}
