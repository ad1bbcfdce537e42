package kinesistest_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// serve runs a server on loopback until the test ends.
func serve(t *testing.T, srv *kinesistest.Server) (endpoint string, transport *http.Transport) {
	t.Helper()
	server := httptest.NewServer(srv)
	transport = &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return server.URL, transport
}

// exchange sends one request by hand, over a transport.
func exchange(t *testing.T, via http.RoundTripper, change func(*http.Request)) (
	status int, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://kinesis.test/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.ListStreams")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 whatever")
	if change != nil {
		change(r)
	}
	resp, err := via.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(all)
}

func TestRefusedRequests(t *testing.T) {
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	content := func(body string) func(*http.Request) {
		return func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(body)) }
	}
	large := io.NopCloser(bytes.NewReader(make([]byte, 32<<20+1)))
	for name, tt := range map[string]struct {
		change func(*http.Request)
		status int
		body   string
	}{
		"unknown operation": {
			set("X-Amz-Target", "Kinesis_20131202.Nonsense"), 400, `{"__type":"UnknownOperationException"}`},
		"unknown": {
			set("X-Amz-Target", "Kinesis_20131202.TagResource"), 400, `{"__type":"UnknownOperationException"}`},
		"another service": {
			set("X-Amz-Target", "DynamoDB_20120810.ListTables"), 404, `{"__type":"UnknownOperationException"}`},
		"GET": {
			func(r *http.Request) { r.Method = http.MethodGet }, 404, `{"__type":"UnknownOperationException"}`},
		"not JSON by type": {set("Content-Type", "text/plain"), 404, `{"__type":"UnknownOperationException"}`},
		"without signature": {func(r *http.Request) { r.Header.Del("Authorization") }, 400,
			`{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`},
		"not JSON":         {content("{"), 400, `{"__type":"SerializationException"`},
		"wrong JSON type":  {content(`{"Limit":"1"}`), 400, `{"__type":"SerializationException"`},
		"a body too large": {func(r *http.Request) { r.Body = large }, 413, "RequestEntityTooLargeException"},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, body := exchange(t, kinesistest.New(kinesistest.Options{}).Transport(), tt.change)
			if status != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("got %d %s, want %d %s", status, body, tt.status, tt.body)
			}
		})
	}
}

func TestAcceptedRequests(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"with a charset": func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-amz-json-1.1; charset=utf-8")
		},
		"application/json": func(r *http.Request) { r.Header.Set("Content-Type", "application/json") },
		"presigned": func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "X-Amz-Signature=0"
		},
	} {
		if status, _, body := exchange(t, kinesistest.New(kinesistest.Options{}).Transport(), change); status != 200 {
			t.Errorf("%s: got %d %s", name, status, body)
		}
	}
}

// Every reply has the service's time, and an id of its own.
func TestReplyHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := kinesistest.New(kinesistest.Options{})
		srv.AdvanceClock(time.Hour)
		_, ok, _ := exchange(t, srv.Transport(), nil)
		_, bad, _ := exchange(t, srv.Transport(), func(r *http.Request) { r.Header.Del("Authorization") })
		for _, h := range []http.Header{ok, bad} {
			if got := h.Get("Date"); got != "Sat, 01 Jan 2000 01:00:00 GMT" {
				t.Errorf("Date is %q", got)
			}
			if got := h.Get("Content-Type"); got != "application/x-amz-json-1.1" {
				t.Errorf("Content-Type is %q", got)
			}
		}
		if a, b := ok.Get("x-amzn-RequestId"), bad.Get("x-amzn-RequestId"); len(a) != 32 || a == b {
			t.Errorf("request ids %q and %q", a, b)
		}
	})
}

func TestServer(t *testing.T) {
	srv, _ := start(t, kinesistest.Options{}, 1)
	srv.AdvanceClock(-48 * time.Hour)
	if err := srv.DeleteStream("s"); err != nil {
		t.Fatal(err)
	}
	endpoint, transport := serve(t, srv)
	c := newClient(transport, endpoint)
	create(t, c, 1)
	data := bytes.Repeat([]byte("0123456789"), 70000)
	fillWith(t, srv, 3, data)
	out := must[*kinesis.GetRecordsOutput](t)(read(t, c, fromStart(t, c, id(0))))
	if len(out.Records) != 3 || !bytes.Equal(out.Records[2].Data, data) {
		t.Errorf("%d records came back, or other bytes", len(out.Records))
	}
	_, header, _ := exchange(t, rewrite{transport, endpoint}, nil)
	at, err := http.ParseTime(header.Get("Date"))
	if off := time.Since(at) - 48*time.Hour; err != nil || off.Abs() > time.Minute {
		t.Errorf("Date %q is not the service's clock (%v)", header.Get("Date"), err)
	}
}

// rewrite sends requests to another address.
type rewrite struct {
	via      http.RoundTripper
	endpoint string
}

func (w rewrite) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = strings.TrimPrefix(w.endpoint, "http://")
	return w.via.RoundTrip(r)
}

func fillWith(t *testing.T, srv *kinesistest.Server, records int, data []byte) {
	t.Helper()
	for range records {
		if _, err := srv.PutTo("s", id(0), "k", data); err != nil {
			t.Fatal(err)
		}
	}
}

// boto3 and the AWS command line of Debian work with it.
func TestBoto3(t *testing.T) {
	srv := kinesistest.New(
		kinesistest.Options{NoLimits: true, CreateDelay: 5 * time.Millisecond, UpdateDelay: 5 * time.Millisecond})
	endpoint, _ := serve(t, srv)
	var events []peers.Event
	for i := range 1000 {
		events = append(events, peers.Event{Key: fmt.Sprint(i % 50), Data: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	puts := peers.Putter{Endpoint: endpoint, Stream: "s", Create: 4, Reshard: 500}.Put(t, events)
	stored := map[string]kinesistest.Record{}
	closed := 0
	for _, sh := range must[[]kinesistest.Shard](t)(srv.Shards("s")) {
		if !sh.Open {
			closed++
		}
		for _, r := range must[[]kinesistest.Record](t)(srv.Records("s", sh.ID)) {
			stored[sh.ID+" "+r.SequenceNumber] = r
		}
	}
	if len(puts) != 1000 || len(stored) != 1000 || closed != 3 {
		t.Fatalf("%d puts, %d records stored, %d shards closed, want 1000, 1000, 3", len(puts), len(stored), closed)
	}
	for i, put := range puts {
		if r, ok := stored[put.Shard+" "+put.SequenceNumber]; !ok || r.PartitionKey != put.Key {
			t.Fatalf("put %d is not stored in the shard of its reply: %+v", i, put)
		}
	}
}

func TestAWSCommandLine(t *testing.T) {
	srv := kinesistest.New(kinesistest.Options{})
	endpoint, _ := serve(t, srv)
	peers.AWS(t, endpoint, "create-stream", "--stream-name", "s", "--shard-count", "1")
	peers.AWS(t, endpoint, "wait", "stream-exists", "--stream-name", "s")
	if _, _, err := srv.Put("s", "key", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	out := peers.AWS(t, endpoint, "get-shard-iterator", "--stream-name", "s", "--shard-id", id(0),
		"--shard-iterator-type", "AT_TIMESTAMP", "--timestamp", "2020-01-01T00:00:00Z")
	_, rest, _ := strings.Cut(string(out), `"ShardIterator": "`)
	it, _, _ := strings.Cut(rest, `"`)
	if got := string(peers.AWS(t, endpoint, "get-records", "--shard-iterator", it)); !strings.Contains(
		got, `"aGVsbG8="`) {
		t.Errorf("get-records printed %s", got)
	}
	if got := string(peers.AWS(t, endpoint, "describe-stream-summary", "--stream-name", "s")); !strings.Contains(got,
		`"StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s"`) {
		t.Errorf("describe-stream-summary printed %s", got)
	}
}
