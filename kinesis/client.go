package kinesis

import (
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// maxIdleConns is how many connections to the service are kept for the next
// round of polls.
const maxIdleConns = 100

// An HTTP/2 connection on which nothing comes is pinged after pingAfter, and
// closed when the answer takes longer than pingWithin. Requests that are given
// up do not end such a connection: the next ones would be sent on it, for
// minutes. The sum is below patience, so that a request is made again on a new
// connection before it would have been given up on the old one.
const (
	pingAfter  = 5 * time.Second
	pingWithin = 3 * time.Second
)

// httpClient returns the client that is given to the SDK's configuration: the
// SDK adds the authorities of AWS_CA_BUNDLE or ca_bundle to one of its own
// kind. It gives requests up after credentialsPatience. The SDK asks for
// credentials in a goroutine that does not end with those who wait for them, so
// that only this ends it.
func httpClient(transport http.RoundTripper) aws.HTTPClient {
	if transport != nil {
		return &http.Client{Transport: transport, Timeout: credentialsTimeout}
	}
	return awshttp.NewBuildableClient().WithTimeout(credentialsTimeout).WithTransportOptions(tune)
}

// tune sets what differs from the SDK's habits in how connections are kept.
func tune(t *http.Transport) {
	t.MaxIdleConnsPerHost = maxIdleConns
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWithin}
}

// withoutTimeout returns a client that is like one of httpClient's, with all
// that the SDK's configuration added to it, except that it never gives a
// request up.
func withoutTimeout(client aws.HTTPClient) aws.HTTPClient {
	switch c := client.(type) {
	case *awshttp.BuildableClient:
		return c.WithTimeout(0)
	case *http.Client:
		return &http.Client{Transport: c.Transport}
	}
	return client
}
