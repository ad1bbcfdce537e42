package kinesis

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// maxIdleConns is how many connections to the service are kept for the next
// round of polls.
const maxIdleConns = 100

// An HTTP/2 connection that stays silent is pinged after pingAfter, and closed
// if the answer takes longer than pingWithin. Requests that time out do not end
// such a connection: the next ones would be sent on it, for minutes. The sum is
// below progressTimeout, so that a request is sent again on a new connection
// before it would have timed out on the old one.
const (
	pingAfter  = 5 * time.Second
	pingWithin = 3 * time.Second
)

// httpClient returns the client for the SDK's configuration. The SDK adds the
// authorities of AWS_CA_BUNDLE or ca_bundle to one of its own kind.
//
// Requests for credentials time out after credentialsTimeout: the SDK makes
// them in a goroutine that outlives the callers who wait for it, so nothing
// else ends them.
func httpClient(transport http.RoundTripper) aws.HTTPClient {
	if transport != nil {
		return &http.Client{Transport: transport, Timeout: credentialsTimeout}
	}
	return awshttp.NewBuildableClient().WithTimeout(credentialsTimeout).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = maxIdleConns
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWithin}
	})
}

// streamBuffer bounds what a connection holds of a subscription that is not
// read; the service then waits. It is enough for 2 MiB a second at a round trip
// of 90 ms.
const streamBuffer = 256 << 10

// streamClient returns a client like withoutTimeout's, for subscriptions. It
// has connections of its own: pages may take the default 4 MiB each, which a
// thousand subscriptions may not.
func streamClient(client aws.HTTPClient) aws.HTTPClient {
	if c, ok := client.(*awshttp.BuildableClient); ok {
		return c.WithTransportOptions(func(t *http.Transport) {
			h := *t.HTTP2
			h.MaxReceiveBufferPerStream = streamBuffer
			t.HTTP2 = &h
		})
	}
	return client
}

// withoutTimeout returns a client like one of httpClient's, with all that the
// SDK's configuration added to it, but without a timeout.
func withoutTimeout(client aws.HTTPClient) aws.HTTPClient {
	switch c := client.(type) {
	case *awshttp.BuildableClient:
		return c.WithTimeout(0)
	case *http.Client:
		return &http.Client{Transport: c.Transport}
	}
	return client
}

// progressTimeout is how long a request may go without progress: no connection,
// no reply, no further byte of it. A reply may take that long and, in addition,
// the time that its bytes take at minRate: one that trickles is as good as
// none.
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
	answered time.Time   // when the reply's header had come; zero: none
	date     time.Time   // the reply's Date; zero: none
	stalled  *time.Timer // ends the request
	streams  bool        // a good reply is a subscription's, which does not end soon: its body is not watched here
	trickles atomic.Bool // set before stalled fires for that reason
}

// serviceTime is the service's time, not later than the moment at which the
// request began: Date, which has whole seconds, less one, less the request's
// duration. Zero: unknown.
func (x *exchange) serviceTime() time.Time {
	if x.date.IsZero() {
		return time.Time{}
	}
	return x.date.Add(-time.Second - x.answered.Sub(x.began)).UTC()
}

// skew is how far the service's clock is ahead of the local one. ok is false if
// the reply has no Date.
func (x *exchange) skew() (ahead time.Duration, ok bool) {
	if x.date.IsZero() {
		return 0, false
	}
	halfway := x.began.Add(x.answered.Sub(x.began) / 2)
	return x.date.Add(500 * time.Millisecond).Sub(halfway), true
}

type exchangeKey struct{}

// watchedClient notes each request's progress in its exchange. Every request to
// AWS goes through one, because it also gives net/http a body that it can copy.
// Those of a poller have one: net/http then sends header and body at once.
type watchedClient struct{ next awskinesis.HTTPClient }

// Do sends a request.
func (c watchedClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.GetBody == nil {
		r.Body = readOnlyBody{r.Body}
	}
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	if x == nil {
		return c.next.Do(r)
	}
	x.began = time.Now()
	x.stalled.Reset(progressTimeout) // the wait for credentials is over
	resp, err := c.next.Do(r)
	if err != nil {
		return resp, err
	}
	x.answered = time.Now()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		x.date = date
	}
	if x.streams && resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	x.stalled.Reset(progressTimeout)
	resp.Body = &watchedBody{ReadCloser: resp.Body, exchange: x}
	return resp, nil
}

// readOnlyBody hides the WriteTo of the SDK's request bodies. The SDK closes a
// body when the reply's header has come, and WriteTo then returns io.EOF as an
// error. net/http may still be looking for bytes past the body's length, takes
// that for a broken upload, and closes the connection under the reply. Read
// returns io.EOF too, which for Read is the regular end.
type readOnlyBody struct{ body io.ReadCloser }

func (b readOnlyBody) Read(p []byte) (int, error) { return b.body.Read(p) }

func (b readOnlyBody) Close() error { return b.body.Close() }

// watchedBody notes the progress of a reply.
type watchedBody struct {
	io.ReadCloser
	exchange *exchange
	bytes    int64 // read so far
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
