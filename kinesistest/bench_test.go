package kinesistest_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// BenchmarkGetRecords reads one page of 4,500 records of 2 KiB without an SDK:
// the cost of the emulator itself.
func BenchmarkGetRecords(b *testing.B) {
	srv := kinesistest.New(kinesistest.Options{NoLimits: true})
	if _, err := srv.CreateStream("s", 1); err != nil {
		b.Fatal(err)
	}
	data := bytes.Repeat([]byte("x"), 2048)
	for range 4500 {
		if _, err := srv.PutTo("s", id(0), "k", data); err != nil {
			b.Fatal(err)
		}
	}
	body := post(b, srv, "GetShardIterator",
		`{"StreamName":"s","ShardId":"`+id(0)+`","ShardIteratorType":"TRIM_HORIZON"}`)
	_, rest, _ := strings.Cut(body, `"ShardIterator":"`)
	it, _, _ := strings.Cut(rest, `"`)
	b.SetBytes(4500 * 2048)
	b.ReportAllocs()
	for b.Loop() {
		discard(b, srv, "GetRecords", `{"ShardIterator":"`+it+`"}`)
	}
}

// BenchmarkPutRecords stores 500 records of 2 KiB a call.
func BenchmarkPutRecords(b *testing.B) {
	srv := kinesistest.New(kinesistest.Options{NoLimits: true})
	if _, err := srv.CreateStream("s", 4); err != nil {
		b.Fatal(err)
	}
	data := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 2048))
	var records []string
	for i := range 500 {
		records = append(records, fmt.Sprintf(`{"PartitionKey":"%d","Data":"%s"}`, i, data))
	}
	body := `{"StreamName":"s","Records":[` + strings.Join(records, ",") + `]}`
	b.SetBytes(500 * 2048)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 == 99 { // the growing store is not what is measured
			b.StopTimer()
			if err := srv.DeleteStream("s"); err != nil {
				b.Fatal(err)
			}
			if _, err := srv.CreateStream("s", 4); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		discard(b, srv, "PutRecords", body)
	}
}

func request(b *testing.B, srv *kinesistest.Server, operation, body string) io.ReadCloser {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://kinesis.test/", strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 whatever")
	resp, err := srv.Transport().RoundTrip(r)
	if err != nil {
		b.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		b.Fatalf("%s: status %d", operation, resp.StatusCode)
	}
	return resp.Body
}

func post(b *testing.B, srv *kinesistest.Server, operation, body string) string {
	all, err := io.ReadAll(request(b, srv, operation, body))
	if err != nil {
		b.Fatal(err)
	}
	return string(all)
}

func discard(b *testing.B, srv *kinesistest.Server, operation, body string) {
	if _, err := io.Copy(io.Discard, request(b, srv, operation, body)); err != nil {
		b.Fatal(err)
	}
}
