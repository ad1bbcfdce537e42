package kinesis

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// poller makes GetRecords requests without the SDK's middleware, which takes
// most of the CPU time of a small request, and deep stacks. The SDK makes the
// first request, and the next one after a failure other than throttling. What
// it decided there is used for the others: the endpoint, the scope of the
// signature, the error of the local clock, and the user agent. Credentials,
// signatures and JSON are the SDK's in either case.
type poller struct {
	client   *awskinesis.Client
	options  awskinesis.Options // of client
	schema   *smithy.OperationSchema
	pattern  atomic.Pointer[pattern] // nil: the SDK makes the next request
	encoding encodings
}

// pattern is what the SDK decided for a request that succeeded.
type pattern struct {
	url, host, agent string
	region, service  string        // of the signature
	ahead            time.Duration // how far the signature's time was ahead of the local clock
}

func newPoller(client *awskinesis.Client) *poller {
	return &poller{
		client: client, options: client.Options(),
		schema: smithy.NewOperationSchema(schemas.GetRecords, schemas.GetRecordsInput, schemas.GetRecordsOutput),
	}
}

// getRecords makes one request. protocol is the client's own, or one that has
// it decode errors.
func (p *poller) getRecords(
	ctx context.Context, in *awskinesis.GetRecordsInput, protocol smithyhttp.ClientProtocol,
) error {
	known := p.pattern.Load()
	if known == nil {
		return p.learn(ctx, in, protocol)
	}
	err := p.send(ctx, known, in, protocol)
	var api smithy.APIError
	var answer *smithyhttp.ResponseError
	switch {
	case err == nil, ctx.Err() != nil:
	case errors.As(err, &api) && errors.As(err, &answer) &&
		classify(api.ErrorCode(), answer.HTTPStatusCode()) == throttled:
	default: // the SDK may know better
		p.pattern.CompareAndSwap(known, nil)
	}
	return err
}

// learn has the SDK make a request, and keeps its pattern if it succeeds.
func (p *poller) learn(
	ctx context.Context, in *awskinesis.GetRecordsInput, protocol smithyhttp.ClientProtocol,
) error {
	watch := patternClient{next: p.options.HTTPClient}
	_, err := p.client.GetRecords(ctx, in, func(o *awskinesis.Options) { o.Protocol, o.HTTPClient = protocol, &watch })
	if err == nil && watch.seen != nil {
		p.pattern.Store(watch.seen)
	}
	return err
}

// patternClient notes the pattern of the request that goes through it.
type patternClient struct {
	next awskinesis.HTTPClient
	seen *pattern
}

// Do sends a request.
func (c *patternClient) Do(r *http.Request) (*http.Response, error) {
	c.seen = patternOf(r, time.Now())
	return c.next.Do(r)
}

// patternOf returns the pattern of a request that was signed now; nil if its
// signature is of an unknown kind.
func patternOf(r *http.Request, now time.Time) *pattern {
	signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=")
	scope, _, _ = strings.Cut(scope, ",")
	parts := strings.Split(scope, "/") // the key's id, the day, region, service, "aws4_request"
	if err != nil || len(parts) != 5 {
		return nil
	}
	return &pattern{
		url: r.URL.String(), host: r.Host, agent: r.Header.Get("User-Agent"),
		region: parts[2], service: parts[3], ahead: signed.Sub(now.Truncate(time.Second)),
	}
}

// send makes a request after a pattern.
func (p *poller) send(
	ctx context.Context, like *pattern, in *awskinesis.GetRecordsInput, protocol smithyhttp.ClientProtocol,
) error {
	r, err := p.newRequest(ctx, like, in, protocol)
	if err != nil {
		return err
	}
	answer, err := p.options.HTTPClient.Do(r) //nolint:bodyclose // CloseResponseBody does it
	if err != nil {
		return &smithyhttp.RequestSendError{Err: err}
	}
	resp := &smithyhttp.Response{Response: answer}
	err = protocol.DeserializeResponse(ctx, p.schema, awskinesis.TypeRegistry, resp, &awskinesis.GetRecordsOutput{})
	smithyhttp.CloseResponseBody(ctx, resp, false, err)
	if err != nil {
		return &awshttp.ResponseError{
			ResponseError: &smithyhttp.ResponseError{Response: resp, Err: err}, RequestID: requestID(answer.Header),
		}
	}
	return nil
}

// newRequest returns a signed request. net/http can send it again by itself on
// a new connection, if the service has closed an idle one.
func (p *poller) newRequest(
	ctx context.Context, like *pattern, in *awskinesis.GetRecordsInput, protocol smithyhttp.ClientProtocol,
) (*http.Request, error) {
	encoded, _ := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	if err := protocol.SerializeRequest(ctx, p.schema, in, encoded); err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	body, err := io.ReadAll(encoded.GetStream())
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, like.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	r.Host, r.Header = like.host, encoded.Header
	r.Header.Set("User-Agent", like.agent)
	return r, p.sign(ctx, like, r, body)
}

func (p *poller) sign(ctx context.Context, like *pattern, r *http.Request, body []byte) error {
	key, err := p.options.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	return p.options.HTTPSignerV4.SignHTTP(ctx, key, r, hex.EncodeToString(hash[:]), like.service, like.region,
		time.Now().Add(like.ahead))
}

// requestID returns the service's id of a request.
func requestID(reply http.Header) string {
	for _, name := range []string{"X-Amzn-Requestid", "X-Amz-RequestId"} {
		if id := reply.Get(name); id != "" {
			return id
		}
	}
	return ""
}
