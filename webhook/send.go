package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gerritstream/gerritstream/internal/traceparent"
	"github.com/gerritstream/gerritstream/queue"
)

// Sender posts events to a hook's receiver: one attempt each, and nothing is
// retried. Several goroutines may use it at once.
//
// Each attempt has a connection of its own, so that no answer is taken for that
// to another request, whatever the receiver writes, and each looks at the
// receiver's address. It follows no redirect, uses no proxy (one would connect
// on behalf of the hook, to addresses that nobody looks at), keeps no cookies,
// and reads little of an answer.
type Sender struct {
	hook      Hook
	config    SenderConfig
	transport *http.Transport
	client    *http.Client
}

// SenderConfig is what a Sender needs besides the hook.
type SenderConfig struct {
	Source  string         // the CloudEvents attribute; empty: "gerritstream"
	RootCAs *x509.CertPool // nil: the system's
	Network Network

	// Secrets returns what a request is signed with, in place of Hook.Secrets;
	// nil: these. Several goroutines call it at once.
	Secrets func() []Secret

	// KeepAnswer is how much of an answer's body an Attempt has, in bytes.
	KeepAnswer int
}

// Bounds of an answer, in bytes. What lies beyond maxAnswer is not read, and
// does not count.
const (
	maxAnswer       = 64 << 10
	maxAnswerHeader = 64 << 10
)

// NewSender returns a Sender. The hook must be valid.
func NewSender(h Hook, c SenderConfig) (*Sender, error) {
	h = h.WithDefaults()
	if err := h.Validate(); err != nil {
		return nil, err
	}
	t := &http.Transport{
		DialContext: newDialer(c.Network, h.AllowPrivate).dial,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxAnswerHeader,
		DisableCompression:     true,
	}
	if c.Secrets == nil {
		c.Secrets = func() []Secret { return h.Secrets }
	}
	return &Sender{hook: h, config: c, transport: t, client: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

var errTimeout = errors.New("no complete answer within the time-out")

// Send posts an event once. again: it was sent before. If ctx ends first, the
// attempt has the outcome Failed and the cause as its error: the receiver may
// have got the event.
func (s *Sender) Send(ctx context.Context, e *queue.Event, again bool) *Attempt {
	a := &Attempt{Event: e.Entry.ID, Arrived: e.Entry.Arrived, Began: time.Now()}
	limited, cancel := context.WithTimeoutCause(ctx, s.hook.Timeout, errTimeout)
	defer cancel()
	header, err := s.exchange(limited, e, again, a)
	a.Took = time.Since(a.Began)
	switch {
	case err != nil && limited.Err() != nil:
		err = context.Cause(limited)
	case err != nil:
		err = explain(err)
	}
	a.Outcome, a.Err = judge(a.Status, err)
	if a.Outcome != Delivered {
		a.RetryAfter = retryAfter(header, time.Now())
	}
	return a
}

// exchange posts the event and reads the answer to its end, or to the bound.
func (s *Sender) exchange(ctx context.Context, e *queue.Event, again bool, a *Attempt) (http.Header, error) {
	header := http.Header{}
	body := encode(s.hook.Format, s.config.Source, e, header)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, string(s.hook.URL), bytes.NewReader(body))
	if err != nil {
		return nil, errURL // Validate has parsed it
	}
	r.Header = header
	id := e.Entry.ID.String()
	header.Set("User-Agent", "gerritstream")
	header.Set(headerEvent, headerValue(e.Entry.Event.Type))
	if again || e.Redelivered {
		header.Set(headerRedelivered, "true")
	}
	if e.Replayed {
		header.Set(headerReplayed, "true")
	}
	if span, ok := traceparent.Parse(e.Entry.Event.Attributes[traceparent.Attribute]); ok {
		header.Set(headerTraceparent, span.String())
	}
	header.Set(headerID, id)
	header.Set(headerTimestamp, strconv.FormatInt(a.Began.Unix(), 10))
	if secrets := s.config.Secrets(); len(secrets) > 0 {
		header.Set(headerSignature, sign(secrets, id, a.Began, body))
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	a.Status = answer.StatusCode
	kept, err := io.ReadAll(io.LimitReader(answer.Body, int64(s.config.KeepAnswer)))
	a.Answer = kept
	if err == nil {
		_, err = io.CopyN(io.Discard, answer.Body, maxAnswer)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return answer.Header, fmt.Errorf("the answer broke off: %w", err)
	}
	return answer.Header, nil
}

var errURL = errors.New("the URL cannot be used")

// judge returns the outcome of an exchange. An answer that is not complete
// counts as none: a proxy may have begun it before the receiver had the event.
func judge(status int, err error) (Outcome, error) {
	switch {
	case errors.Is(err, errTimeout):
		return TimedOut, err
	case err != nil:
		return Failed, err
	case status >= 200 && status < 300:
		return Delivered, nil
	}
	err = fmt.Errorf("the receiver answered %d %s", status, http.StatusText(status))
	switch status {
	case http.StatusGone:
		return Gone, err
	case http.StatusTooManyRequests:
		return Throttled, err
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return Refused, err
	}
	return Failed, err
}

// MaxRetryAfter bounds what a receiver may ask for.
const MaxRetryAfter = 24 * time.Hour

// retryAfter reads the header of that name: seconds, or a date, by the
// receiver's clock if it tells the time. 0: there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > int64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}

// explain returns an error without the URL, which may have secrets, and without
// what the receiver wrote, which may have the payload.
func explain(err error) error {
	var asURL *url.Error
	if errors.As(err, &asURL) {
		err = asURL.Err
	}
	if errors.Is(err, ErrForbiddenAddress) || errors.Is(err, errURL) {
		return err
	}
	var (
		op          *net.OpError
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		number      syscall.Errno
	)
	switch {
	case errors.As(err, &dns), errors.As(err, &op), errors.As(err, &certificate), errors.As(err, &number),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.As(err, &record):
		return errors.New("the receiver does not speak TLS")
	case strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return errors.New("the receiver does not speak TLS")
	}
	return errors.New("the answer is no sound HTTP")
}
