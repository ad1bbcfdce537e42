package kinesistest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/gerritstream/gerritstream/kinesistest"
)

const cborType = "application/x-amz-cbor-1.1"

// speakCBOR turns what a client sends into CBOR, and what it gets into JSON, as
// the SDK for Java does it: with the SDK's own CBOR.
type speakCBOR struct {
	*testing.T
	next http.RoundTripper
}

func (s speakCBOR) RoundTrip(r *http.Request) (*http.Response, error) {
	dec := json.NewDecoder(r.Body)
	dec.UseNumber()
	var in any
	if err := dec.Decode(&in); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	body := cbor.Encode(toCBOR("", in))
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Type", cborType)
	resp, err := s.next.RoundTrip(r)
	if err != nil || resp.Header.Get("Content-Type") == "application/vnd.amazon.eventstream" {
		return resp, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if got := resp.Header.Get("Content-Type"); got != cborType {
		s.Errorf("%s was answered in %s", r.Header.Get("X-Amz-Target"), got)
	}
	if len(out) > 0 {
		v, err := cbor.Decode(out)
		if err != nil {
			s.Errorf("%s was answered by %x: %v", r.Header.Get("X-Amz-Target"), out, err)
		}
		out, _ = json.Marshal(fromCBOR(v))
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(out)), int64(len(out))
	return resp, nil
}

func toCBOR(name string, v any) cbor.Value {
	switch v := v.(type) {
	case map[string]any:
		m := cbor.Map{}
		for k, e := range v {
			m[k] = toCBOR(k, e)
		}
		return m
	case []any:
		list := cbor.List{}
		for _, e := range v {
			list = append(list, toCBOR("", e))
		}
		return list
	case bool:
		return cbor.Bool(v)
	case string:
		if data, err := base64.StdEncoding.DecodeString(v); name == "Data" && err == nil {
			return cbor.Slice(data)
		}
		return cbor.String(v)
	case json.Number:
		f, _ := v.Float64()
		n, err := v.Int64()
		switch {
		case strings.HasSuffix(name, "Timestamp") && f >= 0:
			return &cbor.Tag{ID: 1, Value: cbor.Uint(math.Round(f * 1000))}
		case err != nil:
			return cbor.Float64(f)
		case n < 0:
			return cbor.NegInt(-n)
		}
		return cbor.Uint(n)
	}
	return &cbor.Nil{}
}

func fromCBOR(v cbor.Value) any {
	switch v := v.(type) {
	case cbor.Map:
		m := map[string]any{}
		for k, e := range v {
			m[k] = fromCBOR(e)
		}
		return m
	case cbor.List:
		list := []any{}
		for _, e := range v {
			list = append(list, fromCBOR(e))
		}
		return list
	case cbor.Bool:
		return bool(v)
	case cbor.String:
		return string(v)
	case cbor.Slice:
		return []byte(v)
	case cbor.Uint:
		return uint64(v)
	case cbor.NegInt:
		return -int64(v)
	case cbor.Float64:
		return float64(v)
	case *cbor.Tag:
		ms, isInteger := v.Value.(cbor.Uint)
		if v.ID != 1 || !isInteger {
			return fmt.Sprintf("the tag %d of %v", v.ID, v.Value)
		}
		return json.Number(fmt.Sprintf("%d.%03d", ms/1000, ms%1000))
	}
	return nil
}

// In CBOR every call shows what it shows in JSON.
func TestConformanceInCBOR(t *testing.T) {
	client := func(opts kinesistest.Options) *kinesis.Client {
		return newClient(speakCBOR{t, kinesistest.New(opts).Transport()}, "http://kinesis.test")
	}
	conformance(t, subject{client(kinesistest.Options{NoLimits: true}), client(kinesistest.Options{})}, nil)
}

// postCBOR sends a request by hand.
func postCBOR(t *testing.T, srv *kinesistest.Server, operation string, body []byte) (int, string, []byte) {
	t.Helper()
	status, header, reply := exchange(t, srv.Transport(), func(r *http.Request) {
		r.Header.Set("Content-Type", cborType)
		r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	})
	return status, header.Get("Content-Type"), []byte(reply)
}

// A page comes as AWS sends it: bytes, tagged milliseconds, open lengths.
func TestPageInCBOR(t *testing.T) {
	srv, client := start(t, kinesistest.Options{}, 1)
	before := time.Now().UnixMilli()
	if _, _, err := srv.Put("s", "k", []byte{0, 255, '"'}); err != nil {
		t.Fatal(err)
	}
	in := cbor.Encode(cbor.Map{"ShardIterator": cbor.String(fromStart(t, client, id(0)))})
	status, kind, body := postCBOR(t, srv, "GetRecords", in)
	if status != http.StatusOK || kind != cborType || body[0] != 0xbf {
		t.Fatalf("got %d, %s, %x", status, kind, body)
	}
	page, err := cbor.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	record := page.(cbor.Map)["Records"].(cbor.List)[0].(cbor.Map)
	at, _ := record["ApproximateArrivalTimestamp"].(*cbor.Tag)
	ms, _ := at.Value.(cbor.Uint)
	if at.ID != 1 || int64(ms) < before || int64(ms) > time.Now().UnixMilli() {
		t.Errorf("arrived at %+v", at)
	}
	data, _ := record["Data"].(cbor.Slice)
	if string(data) != "\x00\xff\"" || record["PartitionKey"] != cbor.String("k") {
		t.Errorf("got %+v", record)
	}
}

// Requests in every form of CBOR are understood, and all others refused in
// CBOR.
func TestRequestsInCBOR(t *testing.T) {
	name := "6a53747265616d4e616d65" // "StreamName"
	for text, want := range map[string]string{
		"a1" + name + "6173":               "",
		"bf" + name + "7f6173ff" + "ff":    "",
		"d9d9f7a1" + name + "781873":       "malformed CBOR",
		"a1" + name + "7f4173ff":           "malformed CBOR",
		"a1" + name:                        "malformed CBOR",
		"a1" + name + "617300":             "malformed CBOR",
		"a1" + name + "fb7ff0000000000000": "malformed CBOR",
		"a1" + name + "f8ff":               "malformed CBOR",
		"a101f6":                           "malformed CBOR",
		"":                                 "malformed CBOR",
		"ff":                               "malformed CBOR",
		"a1" + name + "1f":                 "malformed CBOR",
		"a1" + name + "1bffffffffffffffff": "malformed CBOR",
		"a1" + name + strings.Repeat("9f", 1<<16):        "malformed CBOR",
		"a1" + name + "5bffffffffffffffff":               "malformed CBOR",
		"a1" + name + "05":                               "json:",
		"a2" + name + "6173" + "6178f5":                  "",
		"a2" + name + "6173" + "6178fa3f800000":          "",
		"a2" + name + "6173" + "6178" + "82c119ffff38ff": "",
	} {
		srv, _ := start(t, kinesistest.Options{}, 1)
		in, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		status, kind, body := postCBOR(t, srv, "DescribeStreamSummary", in)
		v, err := cbor.Decode(body)
		m, _ := v.(cbor.Map)
		if err != nil || kind != cborType {
			t.Errorf("%.80s: got %s, %x, %v", text, kind, body, err)
			continue
		}
		if want == "" && (status != http.StatusOK || m["StreamDescriptionSummary"] == nil) {
			t.Errorf("%.80s: got %d, %v", text, status, m)
		}
		message, _ := m["message"].(cbor.String)
		if want != "" &&
			(m["__type"] != cbor.String("SerializationException") || !strings.Contains(string(message), want)) {
			t.Errorf("%.80s: got %d, %v", text, status, m)
		}
	}
}

// Hooks see JSON, whatever the client speaks, and their replies are turned into
// CBOR as far as they are JSON.
func TestHooksSeeJSON(t *testing.T) {
	srv, client := start(t, kinesistest.Options{}, 1)
	if _, _, err := srv.Put("s", "k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var request, reply string
	srv.On(kinesistest.Hook{Operation: "GetRecords", Times: 1, Do: kinesistest.Observe(
		func(r *kinesistest.Request, answer *kinesistest.Reply) {
			request, reply = string(r.Body), string(answer.Body())
		})})
	it := fromStart(t, client, id(0))
	in := cbor.Encode(cbor.Map{"ShardIterator": cbor.String(it)})
	if status, _, body := postCBOR(t, srv, "GetRecords", in); status != http.StatusOK || json.Valid(body) {
		t.Errorf("got %d, %q", status, body)
	}
	if request != `{"ShardIterator":"`+it+`"}` || !json.Valid([]byte(reply)) ||
		!strings.Contains(reply, `"Data":"eA=="`) {
		t.Errorf("the hook saw %s and %s", request, reply)
	}
}

// A subscription that is asked for in CBOR brings CBOR.
func TestSubscriptionInCBOR(t *testing.T) {
	srv, client := start(t, kinesistest.Options{NoLimits: true}, 1)
	arn := *register(t, client).arn
	if _, _, err := srv.Put("s", "k", []byte{0, 255}); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://kinesis.test/", bytes.NewReader(
		cbor.Encode(cbor.Map{"ConsumerARN": cbor.String(arn), "ShardId": cbor.String(id(0)),
			"StartingPosition": cbor.Map{"Type": cbor.String("TRIM_HORIZON")}})))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", cborType)
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.SubscribeToShard")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 whatever")
	resp, err := srv.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	frames := make([]byte, 4096)
	n, err := io.ReadAtLeast(resp.Body, frames, 450)
	if err != nil {
		t.Fatal(err)
	}
	frames = frames[:n]
	if got := bytes.Count(frames, []byte(cborType)); got != 2 { // with the initial response
		t.Errorf("%d frames are of %s:\n%q", got, cborType, frames)
	}
	if !bytes.Contains(frames, append([]byte("dData"), 0x42, 0, 255)) {
		t.Errorf("the record is not there:\n%q", frames)
	}
}
