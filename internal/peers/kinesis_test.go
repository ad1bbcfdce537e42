package peers_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

var emulators = map[string]func(testing.TB) string{
	"kinesalite":    peers.Kinesalite,
	"kinesis-local": peers.KinesisLocal,
}

func TestEmulatorsAnswer(t *testing.T) {
	for name, start := range emulators {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := start(t)
			if !strings.HasPrefix(endpoint, "http://127.0.0.1:") {
				t.Fatalf("endpoint %q is not on loopback", endpoint)
			}
			if got := listStreams(t, endpoint); !strings.Contains(got, `"StreamNames":[]`) {
				t.Fatalf("ListStreams of a new %s: %s", name, got)
			}
		})
	}
}

// listStreams sends one request by hand: both emulators require a signature but
// do not check it.
func listStreams(t *testing.T, endpoint string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Kinesis_20131202.ListStreams")
	req.Header.Set("X-Amz-Date", "20260101T000000Z")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request,"+
		" SignedHeaders=host;x-amz-date, Signature=0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
