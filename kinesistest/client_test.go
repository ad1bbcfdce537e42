package kinesistest_test

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// newClient returns the real SDK's client, without retries, over a transport.
func newClient(transport http.RoundTripper, endpoint string) *kinesis.Client {
	return kinesis.New(kinesis.Options{
		Region:           "us-east-1",
		BaseEndpoint:     aws.String(endpoint),
		Credentials:      credentials.NewStaticCredentialsProvider("key", "secret", ""),
		HTTPClient:       &http.Client{Transport: readOnlyBodies{transport}},
		RetryMaxAttempts: 1,
	})
}

// readOnlyBodies hides the WriteTo of the SDK's request bodies. The SDK closes
// a body as soon as a reply begins, WriteTo then returns io.EOF as an error,
// and net/http closes the connection under the reply. Read just ends.
type readOnlyBodies struct{ next http.RoundTripper }

func (t readOnlyBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r = r.Clone(r.Context())
		r.Body = readOnly{r.Body}
	}
	return t.next.RoundTrip(r)
}

type readOnly struct{ body io.ReadCloser }

func (b readOnly) Read(p []byte) (int, error) { return b.body.Read(p) }

func (b readOnly) Close() error { return b.body.Close() }

// start returns a server with a stream named "s", and a client of it.
func start(t *testing.T, opts kinesistest.Options, shards int) (*kinesistest.Server, *kinesis.Client) {
	t.Helper()
	srv := kinesistest.New(opts)
	if _, err := srv.CreateStream("s", shards); err != nil {
		t.Fatal(err)
	}
	return srv, newClient(srv.Transport(), "http://kinesis.test")
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantFault fails unless err is a fault with that code and text.
func wantFault(t *testing.T, err error, code, text string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got error %v, want %s", err, code)
	}
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), text) {
		t.Fatalf("got %s: %s\nwant %s: %s", api.ErrorCode(), api.ErrorMessage(), code, text)
	}
}

func id(n int) string {
	s := strconv.Itoa(n)
	return "shardId-" + strings.Repeat("0", 12-len(s)) + s
}

// iterator asks for an iterator of a shard of "s"; change, if not nil,
// completes the request.
func iterator(t *testing.T, c *kinesis.Client, shard string, kind types.ShardIteratorType,
	change func(*kinesis.GetShardIteratorInput),
) (string, error) {
	t.Helper()
	in := &kinesis.GetShardIteratorInput{StreamName: aws.String("s"), ShardId: &shard, ShardIteratorType: kind}
	if change != nil {
		change(in)
	}
	out, err := c.GetShardIterator(t.Context(), in)
	if err != nil {
		return "", err
	}
	return *out.ShardIterator, nil
}

func fromStart(t *testing.T, c *kinesis.Client, shard string) string {
	t.Helper()
	return must[string](t)(iterator(t, c, shard, types.ShardIteratorTypeTrimHorizon, nil))
}

func read(t *testing.T, c *kinesis.Client, iterator string) (*kinesis.GetRecordsOutput, error) {
	t.Helper()
	return c.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: &iterator})
}
