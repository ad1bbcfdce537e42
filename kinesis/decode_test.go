package kinesis

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
)

// decoded is a reply in a comparable form.
type decoded struct {
	Records  []decodedRecord
	Next     string
	Lag      time.Duration
	Children []gerritstream.ShardID
}

type decodedRecord struct {
	Seq     string
	Data    string
	Key     string
	Arrived int64
}

func decodeOurs(body []byte) (*decoded, error) { return decodedBy(decodeReply, body) }

// decodedBy returns what a decoder makes of a copy of body.
func decodedBy(decode func([]byte, int) (*reply, error), body []byte) (*decoded, error) {
	b := bytes.Clone(body)
	r, err := decode(b, maxRecords)
	if err != nil {
		return nil, err
	}
	out := &decoded{Next: r.next, Lag: r.lag, Children: r.children}
	for _, rec := range r.records {
		out.Records = append(
			out.Records, decodedRecord{
				string(rec.seq.of(b)), string(rec.data.of(b)), string(rec.key.of(b)), rec.arrived})
	}
	return out, nil
}

// decodeTheirs does the same with encoding/json. It takes keys as they are
// written, unlike a struct would.
func decodeTheirs(body []byte) (*decoded, error) {
	var top map[string]json.RawMessage
	if err := strict(body, &top); err != nil {
		return nil, err
	}
	out := &decoded{Lag: unknownLag}
	if err := optionalString(top["NextShardIterator"], &out.Next); err != nil {
		return nil, err
	}
	if raw := top["MillisBehindLatest"]; raw != nil && string(raw) != "null" {
		var ms int64
		if err := json.Unmarshal(raw, &ms); err != nil {
			return nil, err
		}
		if ms >= 0 {
			out.Lag = time.Duration(min(ms, 9223372036854)) * time.Millisecond
		}
	}
	var children, records []json.RawMessage
	if err := optional(top["ChildShards"], &children); err != nil {
		return nil, err
	}
	for _, raw := range children {
		var child map[string]json.RawMessage
		if err := strict(raw, &child); err != nil {
			return nil, err
		}
		id := ""
		if err := optionalString(child["ShardId"], &id); err != nil {
			return nil, err
		}
		if id != "" {
			out.Children = append(out.Children, gerritstream.ShardID(id))
		}
	}
	if err := strict(top["Records"], &records); err != nil {
		return nil, err
	}
	for _, raw := range records {
		rec, err := decodeTheirRecord(raw)
		if err != nil {
			return nil, err
		}
		out.Records = append(out.Records, rec)
	}
	return out, nil
}

func decodeTheirRecord(raw []byte) (rec decodedRecord, err error) {
	var fields map[string]json.RawMessage
	if err := strict(raw, &fields); err != nil {
		return rec, err
	}
	if seq := fields["SequenceNumber"]; bytes.IndexByte(seq, '\\') >= 0 || strict(seq, &rec.Seq) != nil {
		return rec, fmt.Errorf("sequence number")
	}
	if _, err := gerritstream.ParseSequenceNumber(rec.Seq); err != nil {
		return rec, err
	}
	var data []byte
	if err := strict(fields["Data"], &data); err != nil {
		return rec, err
	}
	if d := fields["Data"]; d[0] != '"' {
		return rec, fmt.Errorf("data as an array")
	}
	if key := fields["PartitionKey"]; len(key) > 0 && key[0] == '"' {
		if err := json.Unmarshal(key, &rec.Key); err != nil {
			return rec, err
		}
	}
	rec.Data, rec.Arrived = string(data), noArrival
	if at := fields["ApproximateArrivalTimestamp"]; at != nil && string(at) != "null" {
		rec.Arrived, err = exactMilliseconds(string(at))
	}
	return rec, err
}

func strict(raw []byte, to any) error {
	if string(bytes.TrimSpace(raw)) == "null" || len(raw) == 0 {
		return fmt.Errorf("null")
	}
	return json.Unmarshal(raw, to)
}

func optional(raw []byte, to any) error {
	if raw == nil {
		return nil
	}
	return json.Unmarshal(raw, to)
}

func optionalString(raw []byte, to *string) error { return optional(raw, to) }

// exactMilliseconds computes with fractions of any length.
func exactMilliseconds(number string) (int64, error) {
	if strings.HasPrefix(number, "-") || strings.HasPrefix(number, `"`) || len(number) > 17 {
		return 0, fmt.Errorf("not compared")
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("no number")
	}
	r.Mul(r, big.NewRat(1000, 1))
	r.Add(r, big.NewRat(1, 2))
	ms := new(big.Int).Quo(r.Num(), r.Denom())
	if !ms.IsInt64() || ms.Int64() > lastArrival {
		return 0, errArrival
	}
	return ms.Int64(), nil
}

var replySeeds = []string{
	`{"Records":[],"MillisBehindLatest":0,"NextShardIterator":"AAA="}`,
	`{"Records":[{"SequenceNumber":"1","Data":"eyJhIjoxfQ==","PartitionKey":"k",` +
		`"ApproximateArrivalTimestamp":1.441215410867E9}]}`,
	`{"Records":[{"SequenceNumber":"12","Data":"","ApproximateArrivalTimestamp":1441215410.867,` +
		`"EncryptionType":"KMS"},` +
		`{"Data":"QUI=","SequenceNumber":"13"}],"NextShardIterator":null,"MillisBehindLatest":1234,` +
		`"ChildShards":[{"ShardId":"shardId-000000000001","ParentShards":["a","b"],` +
		`"HashKeyRange":{"EndingHashKey":"1","x":[{}]}}]}`,
	`{"NextShardIterator":"a"}`, `{"Records":null,"NextShardIterator":"a"}`, `{"Records":[{"SequenceNumber":"1"}]}`,
	`{"NextShardIterator":"a\"b\\c\u0041","ChildShards":null,"Records":[{"SequenceNumber":"0","Data":"\/\/8="}]}`,
	` { "Records" : [ { "Data" : null , "SequenceNumber" : "5" , "New" : { "a" : [ 1 , "}" ] } } ] , "More" : -1.5e3 ` +
		`} `,
	`{"Records":[{"SequenceNumber":"1","Data":"QQ\n=="}]}`,
	`{"Records":[{"PartitionKey":"a\/\u00fc\ud83d\ude00","SequenceNumber":"1","Data":"QQ=="},{"SequenceNumber":"2",` +
		`"Data":"","PartitionKey":null}]}`,
	`{"Records":[{"SequenceNumber":"1","Data":"QUJD"}],"Records":[{"SequenceNumber":"2","Data":"QQ==","Data":"Qg=="}]}`,
	`{"Records":[{"SequenceNumber":"","SequenceNumber":"0"}]}`,
	`{"Records":[{"SequenceNumber":"01"}]}`, `{"Records":[{"Data":"QQ=="}]}`,
	`{"Records":[{"SequenceNumber":"1","Data":"Q"}]}`,
	`{"Records":[null]}`, `{"Records":[{}]}`, `null`, `[]`, ``, `{`, `{"Records":`, `{"Records":[}`, `{} {}`,
	`{"a":1,}`,
	`{"Records":[],"MillisBehindLatest":1.5}`, `{"Records":[],"MillisBehindLatest":-7}`,
	`{"Records":[],"MillisBehindLatest":99999999999999999}`,
	`{"Records":[{"SequenceNumber":"1","Data":"","ApproximateArrivalTimestamp":0.0005}]}`,
	`{"Records":[{"SequenceNumber":"1","Data":"","ApproximateArrivalTimestamp":1e30}]}`,
}

// FuzzReplyIsReadLikeEncodingJSON: both decoders accept the same replies, with
// the same result.
func FuzzReplyIsReadLikeEncodingJSON(f *testing.F) {
	for _, seed := range replySeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !utf8.Valid(body) {
			return // encoding/json repairs such text, and the service does not write it
		}
		ours, err := decodeOurs(body)
		theirs, theirErr := decodeTheirs(body)
		if theirErr != nil && theirErr.Error() == "not compared" {
			return
		}
		if err != nil && theirErr == nil && repeatsAKey(t, body) {
			return // encoding/json, used like this, ignores a value if another one follows
		}
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("got %v, encoding/json %v", err, theirErr)
		}
		if err == nil && !equal(ours, theirs) {
			t.Fatalf("we read\n%+v\nencoding/json reads\n%+v", ours, theirs)
		}
	})
}

// repeatsAKey reports whether an object in a JSON text has a key twice.
func repeatsAKey(t *testing.T, body []byte) bool {
	t.Helper()
	type object struct {
		keys  map[string]bool // nil: an array
		value bool            // a value is next, not a key
	}
	var open []object
	for dec := json.NewDecoder(bytes.NewReader(body)); ; {
		token, err := dec.Token()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return false
			}
			t.Fatal(err)
		}
		top := len(open) - 1
		switch key, isText := token.(string); {
		case token == json.Delim('}') || token == json.Delim(']'):
			open = open[:top]
			continue
		case top >= 0 && open[top].keys != nil && !open[top].value && isText:
			if open[top].keys[key] {
				return true
			}
			open[top].keys[key], open[top].value = true, true
			continue
		case top >= 0:
			open[top].value = false
		}
		switch token {
		case json.Delim('{'):
			open = append(open, object{keys: map[string]bool{}})
		case json.Delim('['):
			open = append(open, object{})
		}
	}
}

func equal(a, b *decoded) bool {
	return slices.Equal(a.Records, b.Records) && a.Next == b.Next && a.Lag == b.Lag &&
		slices.Equal(a.Children, b.Children)
}

// Each byte that is not UTF-8 becomes a character of three bytes. These are not
// written over what follows the key: that would be refused then, again and
// again.
func TestKeyThatIsNoUTF8SpoilsNothing(t *testing.T) {
	key := `\/` + strings.Repeat("\xff", 50)
	got, err := decodeOurs([]byte(`{"Records":[{"PartitionKey":"` + key + `","SequenceNumber":"1","Data":"QQ=="},` +
		`{"SequenceNumber":"2","PartitionKey":"k","Data":"QUI="}],"NextShardIterator":"n"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []decodedRecord{{"1", "A", got.Records[0].Key, noArrival}, {"2", "AB", "k", noArrival}}
	if !slices.Equal(got.Records, want) || got.Next != "n" {
		t.Errorf("we read %+v", got)
	}
}

func TestReplyCutAnywhereIsRefused(t *testing.T) {
	body := replySeeds[2]
	for n := range len(body) {
		if _, err := decodeOurs([]byte(body[:n])); err == nil {
			t.Fatalf("accepted the first %d of %d bytes", n, len(body))
		}
	}
}

func TestArrivalIsExactToTheMillisecond(t *testing.T) {
	for number, want := range map[string]int64{
		"1441215410.867": 1441215410867, "1.441215410867E9": 1441215410867, "1441215410867e-3": 1441215410867,
		"1.4412154108670001E9": 1441215410867, "1441215410.8675": 1441215410868, "1441215410": 1441215410000,
		"1.6E9": 1600000000000, "0": 0, "0.0004999": 0, "0.0005": 1, "1e1": 10000, "253402300799.999": lastArrival,
		"1441215410.86700000000000000000000001": 1441215410867,
	} {
		if got, err := parseSeconds([]byte(number)); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", number, got, err, want)
		}
	}
	for _, number := range []string{"253402300800", "1e300", "-1", "1e", "x", "99999999999999999999999999"} {
		if got, err := parseSeconds([]byte(number)); err == nil {
			t.Errorf("%s: got %d, want an error", number, got)
		}
	}
}

func TestBase64IsDecodedInPlace(t *testing.T) {
	for n := range 200 {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		text := []byte(base64.StdEncoding.EncodeToString(data))
		if got, ok := decodeInPlace(text); !ok || !bytes.Equal(text[:got], data) {
			t.Fatalf("%d bytes: got %d %v %x, want %x", n, got, ok, text[:got], data)
		}
	}
}

func TestBadBase64IsRefused(t *testing.T) {
	for _, text := range []string{
		"A", "AA", "AAA", "====", "A===", "AA=A", "=AAA", "AAAAA===", "AA A", "AAA\n", "AAA-", "AA==AAAA", "é=="} {
		if n, ok := decodeInPlace([]byte(text)); ok {
			t.Errorf("%q: got %d bytes", text, n)
		}
	}
}

func FuzzBase64IsReadLikeEncodingBase64(f *testing.F) {
	for _, seed := range []string{"", "QUJD", "QUI=", "QQ==", "Q===", "QR==", "Q\n=="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.ContainsAny(text, "\r\n") {
			return // they skip line breaks; a JSON string has none that are not escaped
		}
		want, err := base64.StdEncoding.AppendDecode(nil, text)
		n, ok := decodeInPlace(text)
		if ok != (err == nil) || ok && !bytes.Equal(text[:n], want) {
			t.Fatalf("got %v %q, want %v %q", ok, text[:n], err, want)
		}
	})
}
