package kinesis

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
)

// benchBody is a page of 5,000 records of about 1,100 bytes: 7.6 MB.
func benchBody() []byte {
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	for i := range 5000 {
		if i > 0 {
			b.WriteByte(',')
		}
		data := make([]byte, 900+rand.IntN(400))
		for j := range data {
			data[j] = byte(rand.Uint32())
		}
		fmt.Fprintf(&b, `{"ApproximateArrivalTimestamp":1.%012dE9,"Data":"%s","PartitionKey":"project-%d",`+
			`"SequenceNumber":"4954398574958%043d"}`,
			441215410000+i, base64.StdEncoding.EncodeToString(data), i%50, i)
	}
	b.WriteString(`],"MillisBehindLatest":0,"NextShardIterator":"AAAA"}`)
	return b.Bytes()
}

// benchBodies is benchBody in both encodings.
func benchBodies() map[string][]byte {
	inJSON := benchBody()
	inCBOR, _ := cborOf(inJSON, nil)
	return map[string][]byte{"JSON": inJSON, "CBOR": inCBOR}
}

// BenchmarkPage measures what this package does with a reply: reading it,
// decoding it, making Records of it.
func BenchmarkPage(b *testing.B) {
	for name, body := range benchBodies() {
		b.Run(name, func(b *testing.B) {
			decode := map[string]func([]byte, int) (*reply, error){"JSON": decodeReply, "CBOR": decodeCBOR}[name]
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				p := &page{}
				var err error
				if p.buf, err = readBody(
					bytes.NewReader(body), int64(len(body)), func(int64) bool { return true }); err != nil {
					b.Fatal(err)
				}
				if p.reply, err = decode(p.buf, maxRecords); err != nil {
					b.Fatal(err)
				}
				if n := p.count(); n != 5000 {
					b.Fatal(n)
				}
				u := unpacker{page: p}
				if records := u.next(5000); len(records) != 5000 {
					b.Fatal(len(records))
				}
			}
		})
	}
}

// constant answers every request with the same body.
type constant struct{ body []byte }

func (c constant) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Request: r, ContentLength: int64(len(c.body)),
		Header: http.Header{"Date": {"Mon, 02 Nov 2015 10:00:00 GMT"}},
		Body:   io.NopCloser(bytes.NewReader(c.body)),
	}, nil
}

func benchClient(body []byte) *awskinesis.Client {
	return awskinesis.New(awskinesis.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String("http://kinesis.test"),
		Credentials:  awscredentials.NewStaticCredentialsProvider("key", "secret", ""),
		HTTPClient:   &http.Client{Transport: constant{body}},
	})
}

// BenchmarkRequest measures a whole GetRecords with this package's decoding;
// BenchmarkSDK measures the SDK alone.
func BenchmarkRequest(b *testing.B) {
	for name, body := range benchBodies() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			discard(b, Config{Endpoint: "http://kinesis.test", Transport: constant{body}})
		})
	}
}

// discard reads and discards a page over and over.
func discard(b *testing.B, c Config) {
	b.Helper()
	c.Stream, c.Region, c.Isolated = "s", "us-east-1", true
	s, err := New(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	r := &reading{source: s, shard: shard0, iterator: "AAAA", limit: maxRecords}
	for b.Loop() {
		room, err := s.budget.Reserve(b.Context(), pageReserve)
		if err != nil {
			b.Fatal(err)
		}
		p, err := r.getRecords(b.Context(), room)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.yield(
			b.Context(), func(page gerritstream.Page, _ error) bool { page.Done(); return true }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDiscard measures the processor time of reading 2,000 events of 2.2
// KB over the loopback interface, the server's included, and beside it that of
// reading the same bytes with net/http alone.
func BenchmarkDiscard(b *testing.B) {
	const events = 2000
	var page bytes.Buffer
	page.WriteString(`{"MillisBehindLatest":0,"NextShardIterator":"AAAA","Records":[`)
	data := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(`{"type":"x"}`), 2200/12))
	for i := range events {
		fmt.Fprintf(&page, `{"ApproximateArrivalTimestamp":1.441215410867E9,"Data":"%s","PartitionKey":"k",`+
			`"SequenceNumber":"4954398574958%043d"},`, data, i)
	}
	inJSON := append(bytes.TrimSuffix(page.Bytes(), []byte(",")), "]}"...)
	inCBOR, _ := cborOf(inJSON, nil)
	for name, body := range map[string][]byte{"JSON": inJSON, "CBOR": inCBOR} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body) // the reader finds out
		}))
		defer web.Close()
		measure := func(what string, read func(*testing.B)) {
			b.Run(what+" "+name, func(b *testing.B) {
				began := processorTime()
				read(b)
				took := processorTime() - began
				b.ReportMetric(float64(took.Nanoseconds())/1000/float64(b.N*events), "cpu-us/event")
			})
		}
		measure("ours", func(b *testing.B) { discard(b, Config{Endpoint: web.URL}) })
		measure("bare", func(b *testing.B) {
			for b.Loop() {
				answer, err := web.Client().Post(web.URL, "", nil) //nolint:noctx // a benchmark
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, answer.Body); err != nil {
					b.Fatal(err)
				}
				answer.Body.Close()
			}
		})
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it fails for bad arguments only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPoll measures a poll of an idle shard without the network: as it is
// made, and with the SDK's middleware.
func BenchmarkPoll(b *testing.B) {
	for _, name := range []string{"direct CBOR", "direct JSON", "SDK CBOR", "SDK JSON"} {
		b.Run(name, func(b *testing.B) {
			maker, encoding, _ := strings.Cut(name, " ")
			idle := constant{[]byte(`{"Records":[],"MillisBehindLatest":0,"NextShardIterator":"` +
				strings.Repeat("A", 200) + `"}`)}
			if encoding == "CBOR" {
				idle.body, _ = cborOf(idle.body, nil)
			}
			s, err := New(b.Context(), Config{Stream: "s", Region: "us-east-1", Endpoint: "http://kinesis.test",
				Transport: idle, Isolated: true})
			if err != nil {
				b.Fatal(err)
			}
			s.poller.encoding.onlyJSON.Store(encoding == "JSON")
			r := &reading{source: s, shard: shard0, iterator: strings.Repeat("A", 200), limit: maxRecords, atTip: true}
			b.ReportAllocs()
			for b.Loop() {
				if maker == "SDK" {
					s.poller.pattern.Store(nil)
				}
				p, err := r.poll(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				p.release()
			}
		})
	}
}

func BenchmarkSDK(b *testing.B) {
	body := benchBody()
	client := benchClient(body)
	var records []types.Record
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		out, err := client.GetRecords(b.Context(), &awskinesis.GetRecordsInput{ShardIterator: aws.String("AAAA")})
		if err != nil {
			b.Fatal(err)
		}
		records = out.Records
	}
	if len(records) != 5000 {
		b.Fatal(len(records))
	}
}
