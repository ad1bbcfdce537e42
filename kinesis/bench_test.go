package kinesis

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

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

// BenchmarkPage measures what this package does with a reply: reading it,
// decoding it, making Records of it.
func BenchmarkPage(b *testing.B) {
	body := benchBody()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		p := &page{}
		var err error
		if p.buf, err = readBody(
			bytes.NewReader(body), int64(len(body)), func(int64) bool { return true }); err != nil {
			b.Fatal(err)
		}
		if p.reply, err = decodeReply(p.buf, maxRecords); err != nil {
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

// BenchmarkRequest measures a whole GetRecords through the SDK with this
// package's decoding; BenchmarkSDK measures the SDK alone.
func BenchmarkRequest(b *testing.B) {
	body := benchBody()
	s, err := New(b.Context(),
		Config{Stream: "s", Region: "us-east-1", Endpoint: "http://kinesis.test", Transport: constant{body}})
	if err != nil {
		b.Fatal(err)
	}
	s.credentials.used = awscredentials.NewStaticCredentialsProvider("key", "secret", "")
	r := &reading{source: s, shard: "shardId-000000000000", iterator: "AAAA", limit: maxRecords}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
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

// BenchmarkPoll measures a poll of an idle shard without the network: as it is
// made, and with the SDK's middleware.
func BenchmarkPoll(b *testing.B) {
	for _, direct := range []bool{true, false} {
		b.Run(map[bool]string{true: "direct", false: "SDK"}[direct], func(b *testing.B) {
			idle := constant{[]byte(`{"Records":[],"MillisBehindLatest":0,"NextShardIterator":"` + strings.Repeat("A", 200) + `"}`)}
			s, err := New(b.Context(), Config{Stream: "s", Region: "us-east-1", Endpoint: "http://kinesis.test",
				Transport: idle, Isolated: true})
			if err != nil {
				b.Fatal(err)
			}
			r := &reading{source: s, shard: shard0, iterator: strings.Repeat("A", 200), limit: maxRecords, atTip: true}
			b.ReportAllocs()
			for b.Loop() {
				if !direct {
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
