package zookeeper

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
)

func testEntry(payload string) *gerritstream.Entry {
	id := gerritstream.EventID{0x0f, 0xa0, 15: 0xff}
	return &gerritstream.Entry{
		ID: id, Shard: "shardId-000000000000", Seq: "49", Sub: gerritstream.NoSub, Arrived: time.UnixMilli(1),
		Payload: []byte(payload),
	}
}

func TestEnvelope(t *testing.T) {
	for name, tc := range map[string]struct {
		payload string
		written time.Time
		want    string
	}{
		"plain": {`{"type": "x"}`, time.UnixMilli(1_732_500),
			`{"event_data": {"payload": {"type": "x"}, "span_context": null, "timestamp": 1732.5, "zuul_event_id": "0fa000000000000000000000000000ff"}}`},
		"a whole second": {`{}`, time.UnixMilli(1_699_999_999_000),
			`{"event_data": {"payload": {}, "span_context": null, "timestamp": 1699999999.0, "zuul_event_id": "0fa000000000000000000000000000ff"}}`},
		"bytes that no encoder would write": {" {\"a\" :1e0,\n\"a\":\"\\u003c\u2028\"} ", time.UnixMilli(1001),
			"{\"event_data\": {\"payload\":  {\"a\" :1e0,\n\"a\":\"\\u003c\u2028\"} , \"span_context\": null, \"timestamp\": 1.001, \"zuul_event_id\": \"0fa000000000000000000000000000ff\"}}"},
	} {
		t.Run(name, func(t *testing.T) {
			got := appendEnvelope([]byte("before"), testEntry(tc.payload), tc.written)
			if want := "before" + tc.want; string(got) != want {
				t.Errorf("\n%s\nwant\n%s", got, want)
			}
			if overhead := len(tc.want) - len(tc.payload); overhead > envelopeOverhead {
				t.Errorf("an overhead of %d is more than %d", overhead, envelopeOverhead)
			}
		})
	}
}

// The spans that an event may carry, and what is written of them.
var spans = map[string]string{
	"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": `{"span_id": 67667974448284343, "trace_flags": 1, "trace_id": 100985939111033328018442752961257817910}`,
	"00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-ff": `{"span_id": 18446744073709551615, "trace_flags": 255, "trace_id": 340282366920938463463374607431768211455}`,
	"00-00000000000000000000000000000001-0000000000000001-01": `{"span_id": 1, "trace_flags": 1, "trace_id": 1}`,
	"00-00000000000000010000000000000000-0000000000000064-03": `{"span_id": 100, "trace_flags": 3, "trace_id": 18446744073709551616}`,
	"00-4b3b4ca85a86c47a098a224000000001-0000000000000064-01": `{"span_id": 100, "trace_flags": 1, "trace_id": 100000000000000000000000000000000000001}`,
	"00-00000000000000008ac7230489e7ffff-0000000000000064-01": `{"span_id": 100, "trace_flags": 1, "trace_id": 9999999999999999999}`,
	"00-0785ee10d5da46d900f436a000000000-0000000000000064-01": `{"span_id": 100, "trace_flags": 1, "trace_id": 10000000000000000000000000000000000000}`,
	"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00": `null`,
	"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02": `null`,
	"00-00000000000000000000000000000000-00f067aa0ba902b7-01": `null`,
	"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": `null`,
	"not one": `null`,
	"":        `null`,
}

func withSpan(e *gerritstream.Entry, value string) *gerritstream.Entry {
	e.Event.Attributes = map[string]string{"traceparent": value}
	return e
}

// An event that carries a span has it in the form in which Zuul keeps its own;
// a span that Zuul could not use, or that nobody keeps, is left out.
func TestEnvelopeOfASpan(t *testing.T) {
	for value, want := range spans {
		got := string(appendEnvelope(nil, withSpan(testEntry(`{}`), value), time.UnixMilli(1001)))
		if want := `{"event_data": {"payload": {}, "span_context": ` + want +
			`, "timestamp": 1.001, "zuul_event_id": "0fa000000000000000000000000000ff"}}`; got != want {
			t.Errorf("%s:\n%s\nwant\n%s", value, got, want)
		}
		if overhead := len(got) - len(`{}`); overhead > envelopeOverhead {
			t.Errorf("%s: an overhead of %d is more than %d", value, overhead, envelopeOverhead)
		}
	}
}

// Python, encoding as Zuul does what it decoded from our bytes, produces the
// same bytes. What Zuul restores of a span is the one that the event carries:
// three members of whatever is not empty.
func TestPythonWritesTheSameEnvelope(t *testing.T) {
	peers.Require(t, peers.Python)
	const program = `import json, sys
for line in sys.stdin.buffer:
    value = json.loads(line)
    assert isinstance(value["event_data"]["timestamp"], float), value
    span = value["event_data"].get("span_context")
    if span:
        value["event_data"]["payload"]["span"] = "00-%032x-%016x-%02x" % (
            span["trace_id"], span["span_id"], span["trace_flags"])
    sys.stdout.buffer.write(json.dumps(value, sort_keys=True).encode("utf8") + b"\n")`
	var in bytes.Buffer
	for _, ms := range []int64{0, 1, 999, 1000, 1_732_500, 1_700_000_000_000, 1_700_000_000_001, 1_700_000_000_999,
		4_102_444_799_123} {
		e := testEntry(`{"change": {"number": 7, "subject": "a \u00e9"}, "type": "comment-added"}`)
		in.Write(append(appendEnvelope(nil, e, time.UnixMilli(ms)), '\n'))
	}
	want := in.String()
	for value, written := range spans {
		e := testEntry(`{"change": {"number": 7}}`)
		in.Write(append(appendEnvelope(nil, withSpan(e, value), time.UnixMilli(1001)), '\n'))
		if written != noSpan {
			e = testEntry(`{"change": {"number": 7}, "span": "` + value + `"}`)
		}
		want += string(appendEnvelope(nil, withSpan(e, value), time.UnixMilli(1001))) + "\n"
	}
	cmd := peers.PythonCommand(t.Context(), program)
	cmd.Stdin = &in
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if string(out) != want {
		t.Errorf("Python writes\n%s\nwant\n%s", out, want)
	}
}

func TestLargeEventPath(t *testing.T) {
	at := newLayout("/chroot", "gerrit")
	got := string(appendLargeEventPath(nil, at.unprefixed(at.largeEvent("0f"))))
	if want := `{"event_data_path": "/zuul/events/connection/gerrit/events/data/0f"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, name := range []string{`quote"d`, `back\slash`, "é"} {
		at := newLayout("", name)
		var n struct {
			Path string `json:"event_data_path"`
		}
		data := appendLargeEventPath(nil, at.largeEvent("0f"))
		if err := json.Unmarshal(data, &n); err != nil || n.Path != at.largeEvent("0f") {
			t.Errorf("%s reads as %q, %v", data, n.Path, err)
		}
	}
}

// An entry's weight is an upper bound of what its node takes in the
// transaction.
func TestWeightIsAnUpperBound(t *testing.T) {
	at := newLayout("/"+strings.Repeat("c", maxNameLength-1), strings.Repeat("n", maxNameLength))
	e := testEntry(`{}`)
	for range 2 {
		size := 48 + len(at.queueNode()) + len(appendEnvelope(nil, e, time.UnixMilli(1_700_000_000_001)))
		if size > e.Weight() {
			t.Errorf("a node takes %d bytes, the weight is %d", size, e.Weight())
		}
		withSpan(e, "00-"+strings.Repeat("f", 32)+"-"+strings.Repeat("f", 16)+"-ff")
	}
}

// A commit of dead letters alone, as heavy as the limits allow, fits into a
// transaction.
func TestDeadLettersFitIntoATransaction(t *testing.T) {
	at := newLayout("/"+strings.Repeat("c", maxNameLength-1), strings.Repeat("n", maxNameLength))
	for _, each := range []int{1, limits.Weight/limits.Items - 512, gerritstream.MaxDeadLetterBytes} {
		n := min(limits.Items, limits.Weight/(each+512))
		d := gerritstream.DeadLetter{
			Shard: "shardId-000000000000", Seq: gerritstream.SequenceNumber(strings.Repeat("9", 56)), Sub: 9999,
			Arrived: time.Now(), Reason: "utf8", Payload: make([]byte, each), Length: 10 << 20,
		}
		if size := n * (48 + len(at.deadLetter(&d)) + len(encodeDeadLetter(&d))); size > maxRequest {
			t.Errorf("%d dead letters of %d bytes take %d bytes, the maximum is %d", n, each, size, maxRequest)
		}
	}
}

func TestDeadLetterRoundTrip(t *testing.T) {
	d := gerritstream.DeadLetter{
		ID: gerritstream.EventID{1, 2}, Shard: "shardId-000000000000", Seq: "49", Sub: 3,
		Arrived: time.UnixMilli(5).UTC(),
		Reason:  "json", Detail: "a \"quote\" and \u2028", Payload: []byte{0, 0xff, '\n'}, Length: 3,
		SHA256: [32]byte{9},
	}
	got, err := decodeDeadLetter(encodeDeadLetter(&d))
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != d.ID || got.Sub != d.Sub || got.Detail != d.Detail || !bytes.Equal(got.Payload, d.Payload) ||
		got.SHA256 != d.SHA256 ||
		!got.Arrived.Equal(d.Arrived) || got.Length != d.Length {
		t.Errorf("%+v reads as %+v", d, got)
	}
	d.Detail = strings.Repeat("é", maxDetail)
	if got, err = decodeDeadLetter(encodeDeadLetter(&d)); err != nil || len(got.Detail) > maxDetail {
		t.Errorf("a detail of %d bytes is stored as %d, %v", len(d.Detail), len(got.Detail), err)
	}
	for _, garbage := range []string{"", "{}", "null", "[]", `{"format":1,"id":"zz"}`, "\xff"} {
		if _, err := decodeDeadLetter([]byte(garbage)); err == nil {
			t.Errorf("%q reads as a dead letter", garbage)
		}
	}
	if _, err := decodeDeadLetter([]byte(`{"format":2}`)); !errors.Is(err, gerritstream.ErrNewerFormat) {
		t.Errorf("a newer format reads with %v", err)
	}
}

// Whatever the sizes of the writes, the chunks together are what was written,
// and all but the last are full.
func TestChunks(t *testing.T) {
	for _, writes := range [][]int{{}, {0}, {1}, {chunkSize}, {chunkSize + 1}, {3 * chunkSize},
		{chunkSize - 1, 2, chunkSize, 5}} {
		var chunks [][]byte
		c := &chunker{write: func(n int, chunk []byte) error {
			if n != len(chunks) {
				t.Errorf("chunk %d comes as %d", len(chunks), n)
			}
			chunks = append(chunks, chunk)
			return nil
		}}
		var want []byte
		for i, size := range writes {
			part := bytes.Repeat([]byte{byte('a' + i)}, size)
			want = append(want, part...)
			if n, err := c.Write(part); n != size || err != nil {
				t.Fatalf("write of %d: %d, %v", size, n, err)
			}
		}
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(slices.Concat(chunks...), want) {
			t.Errorf("writes %v: the chunks are not what was written", writes)
		}
		for i, chunk := range chunks {
			if len(chunk) > chunkSize || i < len(chunks)-1 && len(chunk) < chunkSize {
				t.Errorf("writes %v: chunk %d of %d has %d bytes", writes, i, len(chunks), len(chunk))
			}
		}
	}
}

func TestChunkerStopsAtAnError(t *testing.T) {
	broken := errors.New("broken")
	c := &chunker{write: func(int, []byte) error { return broken }}
	cl, err := zlib.NewWriterLevel(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(cl, bytes.NewReader(make([]byte, 2*chunkSize))); !errors.Is(err, broken) {
		t.Errorf("copy returned %v", err)
	}
}

func TestModelAPI(t *testing.T) {
	for data, want := range map[string]int{
		`{"model_api": 34, "hostname": "x"}`: 34, `{"model_api": 30}`: 30, `{"hostname": "x"}`: 0,
		`{"model_api": "old"}`: 0,
		``:                     -1, `null`: -1, `[]`: -1, `{`: -1,
	} {
		api, ok := decodeModelAPI([]byte(data))
		if !ok {
			api = -1
		}
		if api != want {
			t.Errorf("decodeModelAPI(%s) = %d, want %d", data, api, want)
		}
	}
}

func TestUUID(t *testing.T) {
	if a, b := newUUID(), newUUID(); a == b || !isUUID(a) || !isUUID(b) || a[14] != '4' {
		t.Errorf("%s and %s", a, b)
	}
	for _, s := range []string{"", "x", strings.Repeat("0", 36), "00000000-0000-4000-8000-00000000000/",
		"../000000000-0000-4000-8000-0000000000"} {
		if isUUID(s) {
			t.Errorf("%q counts as an id", s)
		}
	}
}
