package kinesis

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/smithy-go/encoding/cbor"
)

// cborWriter writes the CBOR of values. shape decides in which of the ways that
// CBOR has.
type cborWriter struct {
	b     []byte
	shape *rand.Rand // nil: in the shortest
}

func (w *cborWriter) head(major byte, n uint64) {
	size := 0
	for size < 4 && n >= []uint64{24, 1 << 8, 1 << 16, 1 << 32}[size] {
		size++
	}
	if w.shape != nil {
		size += w.shape.IntN(5 - size) // a longer form says the same
	}
	if size == 0 {
		w.b = append(w.b, major<<5|byte(n))
		return
	}
	w.b = append(w.b, major<<5|byte(23+size))
	w.b = append(w.b, binary.BigEndian.AppendUint64(nil, n)[8-1<<(size-1):]...)
}

func (w *cborWriter) isOpen() bool { return w.shape != nil && w.shape.IntN(2) == 0 }

func (w *cborWriter) text(major byte, s string) {
	if !w.isOpen() {
		w.head(major, uint64(len(s)))
		w.b = append(w.b, s...)
		return
	}
	w.b = append(w.b, major<<5|cborOpen)
	for len(s) > 0 || w.shape.IntN(3) == 0 {
		n := w.shape.IntN(len(s) + 1)
		w.head(major, uint64(n))
		w.b = append(w.b, s[:n]...)
		s = s[n:]
	}
	w.b = append(w.b, cborBreak)
}

// container writes the elements of an array or a map.
func (w *cborWriter) container(major byte, n int, element func(i int)) {
	open := w.isOpen()
	if open {
		w.b = append(w.b, major<<5|cborOpen)
	} else {
		w.head(major, uint64(n))
	}
	for i := range n {
		element(i)
	}
	if open {
		w.b = append(w.b, cborBreak)
	}
}

// value writes a value of encoding/json, with data and times as Kinesis has
// them. It reports whether it could.
func (w *cborWriter) value(name string, v any) bool {
	ok := true
	switch v := v.(type) {
	case nil:
		w.b = append(w.b, cborNull+byte(w.pick(2)))
	case bool:
		w.b = append(w.b, map[bool]byte{false: 0xf4, true: 0xf5}[v])
	case string:
		if name == "Data" && w.pick(4) < 3 {
			data, err := base64.StdEncoding.DecodeString(v)
			w.text(cborBytes, string(data))
			return err == nil
		}
		w.text(cborText, v)
		return name != "Data" || !strings.ContainsAny(v, "\r\n") // only JSON escapes them
	case json.Number:
		return w.number(name, string(v))
	case []any:
		w.container(cborArray, len(v), func(i int) { ok = w.value("", v[i]) && ok })
	case map[string]any:
		keys := slices.Collect(maps.Keys(v))
		if w.shape != nil {
			slices.Sort(keys)
			w.shape.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		}
		w.container(cborMap, len(keys), func(i int) {
			w.text(cborText, keys[i])
			ok = w.value(keys[i], v[keys[i]]) && ok
		})
	}
	return ok
}

func (w *cborWriter) pick(n int) int {
	if w.shape == nil {
		return 0
	}
	return w.shape.IntN(n)
}

func (w *cborWriter) number(name, text string) bool {
	if name == "ApproximateArrivalTimestamp" {
		ms, err := exactMilliseconds(text)
		if err != nil || ms < firstMillis || ms >= firstMillis*1000 {
			return false
		}
		switch w.pick(4) {
		case 0:
			w.head(cborTag, 1)
			w.head(cborUint, uint64(ms))
		case 1:
			w.head(cborUint, uint64(ms))
		case 2:
			w.head(cborTag, 1)
			w.float(float64(ms) / 1000)
		default:
			w.float(float64(ms))
		}
		return true
	}
	var n int64
	if json.Unmarshal([]byte(text), &n) != nil {
		var f float64
		ok := json.Unmarshal([]byte(text), &f) == nil
		w.float(f)
		return ok
	}
	if n < 0 {
		w.head(cborNegative, uint64(-1-n))
	} else {
		w.head(cborUint, uint64(n))
	}
	return true
}

func (w *cborWriter) float(f float64) {
	w.b = binary.BigEndian.AppendUint64(append(w.b, 0xfb), math.Float64bits(f))
}

// cborOf returns a JSON reply in CBOR. ok is false where the two cannot say the
// same.
func cborOf(body []byte, shape *rand.Rand) (out []byte, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, false
	}
	w := cborWriter{shape: shape}
	ok = w.value("", v)
	return w.b, ok
}

func decodeOurCBOR(body []byte) (*decoded, error) { return decodedBy(decodeCBOR, body) }

// FuzzCBORReplyIsReadLikeJSON: a reply gives the same page in both encodings,
// whatever forms of CBOR it is written in.
func FuzzCBORReplyIsReadLikeJSON(f *testing.F) {
	for i, seed := range replySeeds {
		f.Add([]byte(seed), uint64(i))
	}
	f.Fuzz(func(t *testing.T, body []byte, seed uint64) {
		if !json.Valid(body) || !utf8.Valid(body) || repeatsAKey(t, body) {
			return // encoding/json reads such a reply as another
		}
		var shape *rand.Rand
		if seed > 0 {
			shape = rand.New(rand.NewPCG(seed, 0))
		}
		in, ok := cborOf(body, shape)
		if !ok {
			return
		}
		want, wantErr := decodeOurs(body)
		got, err := decodeOurCBOR(in)
		if (err == nil) != (wantErr == nil) || err == nil && !equal(got, want) {
			t.Fatalf("%x\nwe read %+v, %v\nin JSON %+v, %v", in, got, err, want, wantErr)
		}
	})
}

// FuzzCBORReplyIsReadLikeSmithy: what we accept, another decoder reads in the
// same way, and what we refuse is one clear error.
func FuzzCBORReplyIsReadLikeSmithy(f *testing.F) {
	for i, seed := range replySeeds {
		if body, ok := cborOf([]byte(seed), rand.New(rand.NewPCG(uint64(i), 0))); ok {
			f.Add(body)
		}
	}
	for _, body := range cborReplies {
		f.Add(unhex(f, body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeOurCBOR(body)
		var refused *replyError
		switch {
		case errors.As(err, &refused):
			return
		case err != nil:
			t.Fatalf("the error is %T: %v", err, err)
		}
		top, err := cbor.Decode(body)
		if err != nil {
			t.Fatalf("we accept %x, smithy-go does not: %v", body, err)
		}
		if m, ok := untag(top).(cbor.Map); !ok || len(untag(m["Records"]).(cbor.List)) != len(got.Records) {
			t.Fatalf("%x: we read %+v, smithy-go %+v", body, got, top)
		}
	})
}

func untag(v cbor.Value) cbor.Value {
	for {
		tagged, ok := v.(*cbor.Tag)
		if !ok {
			return v
		}
		v = tagged.Value
	}
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Pieces of CBOR by hand.
const (
	hexRecords  = "67 5265636f726473"
	hexNext     = "71 4e6578745368617264497465726174 6f72"
	hexLag      = "72 4d696c6c6973426568696e644c6174657374"
	hexChildren = "6b 4368696c64536861726473"
	hexSeq      = "6e 53657175656e63654e756d626572"
	hexData     = "64 44617461"
	hexArrived  = "78 1b 417070726f78696d6174654172726976616c54696d657374616d70"
	hexKey      = "6c 506172746974696f6e4b6579"
)

// cborReplies are as services write them.
var cborReplies = map[string]string{
	// Indefinite lengths, tagged milliseconds and bytes.
	"AWS": "bf" + hexRecords + "9f bf" + hexSeq + "62 3132" + hexArrived + "c1 1b 0000014f8f21f2b3" +
		hexData + "43 410042" + hexKey + "61 6b ff ff" + hexNext + "61 6e" + hexLag + "19 04d2" +
		hexChildren + "f6 ff",
	// Base64 in a text, a float of seconds, undefined for what is absent.
	"kinesalite": "a3" + hexLag + "00" + hexNext + "f7" + hexRecords + "81 a4" + hexKey + "61 6b" + hexData +
		"64 51514243" + hexArrived + "fb 41d579ccecb77cee" + hexSeq + "62 3132",
	// Base64 in a text, milliseconds without a tag.
	"kinesis-local": "a3" + hexChildren + "f6" + hexLag + "00" + hexRecords + "81 a4" +
		hexArrived + "1b 0000014f8f21f2b3" + hexData + "64 51514243" + hexKey + "61 6b" + hexSeq + "62 3132",
	"in chunks": "bf 7f 63 526563 64 6f726473 ff 81 bf" + hexSeq + "7f 60 61 31 61 32 ff" +
		hexData + "5f 42 4100 40 41 42 ff ff ff",
}

func TestRepliesInCBORAsServicesWriteThem(t *testing.T) {
	want := map[string]decoded{
		"AWS": {
			Records: []decodedRecord{{"12", "A\x00B", "k", 1441215410867}}, Next: "n", Lag: lagOf(1234)},
		"kinesalite":    {Records: []decodedRecord{{"12", "A\x00B", "k", 1441215410867}}},
		"kinesis-local": {Records: []decodedRecord{{"12", "A\x00B", "k", 1441215410867}}},
		"in chunks":     {Records: []decodedRecord{{"12", "A\x00B", "", noArrival}}, Lag: unknownLag},
	}
	for name, body := range cborReplies {
		got, err := decodeOurCBOR(unhex(t, body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if w := want[name]; !equal(got, &w) {
			t.Errorf("%s: we read\n%+v, want\n%+v", name, got, w)
		}
	}
}

func TestCBORReplyCutAnywhereIsRefused(t *testing.T) {
	for name, text := range cborReplies {
		body := unhex(t, text)
		for n := range body {
			if _, err := decodeOurCBOR(body[:n]); err == nil {
				t.Errorf("%s: accepted the first %d of %d bytes", name, n, len(body))
			}
		}
		if _, err := decodeOurCBOR(append(body, 0xf6)); err == nil {
			t.Errorf("%s: accepted with a byte more", name)
		}
	}
}

func TestCBORReplyThatIsWrongIsRefused(t *testing.T) {
	record := func(members string) string { return "a1" + hexRecords + "81 bf" + members + "ff" }
	for name, body := range map[string]string{
		"nothing":                     "",
		"no map":                      "80",
		"no records":                  "a0",
		"records are null":            "a1" + hexRecords + "f6",
		"records are undefined":       "a1" + hexRecords + "f7",
		"records are a map":           "a1" + hexRecords + "a0",
		"a record is null":            "a1" + hexRecords + "81 f6",
		"a record without a number":   record(hexData + "40"),
		"a record without data":       record(hexSeq + "61 31"),
		"data is null":                record(hexSeq + "61 31" + hexData + "f6"),
		"data is an integer":          record(hexSeq + "61 31" + hexData + "05"),
		"data is an array":            record(hexSeq + "61 31" + hexData + "80"),
		"data is no base64":           record(hexSeq + "61 31" + hexData + "61 41"),
		"a number of bytes":           record(hexSeq + "41 31" + hexData + "40"),
		"a number that is an integer": record(hexSeq + "01" + hexData + "40"),
		"a number with a sign":        record(hexSeq + "62 2d31" + hexData + "40"),
		"an arrival of text":          record(hexSeq + "61 31" + hexData + "40" + hexArrived + "61 31"),
		"an arrival before 1970":      record(hexSeq + "61 31" + hexData + "40" + hexArrived + "c1 20"),
		"an arrival that is true":     record(hexSeq + "61 31" + hexData + "40" + hexArrived + "f5"),
		"an arrival that is no number": record(hexSeq + "61 31" + hexData + "40" + hexArrived +
			"fb 7ff8000000000000"),
		"an infinite arrival":          record(hexSeq + "61 31" + hexData + "40" + hexArrived + "f9 7c00"),
		"an arrival after 9999":        record(hexSeq + "61 31" + hexData + "40" + hexArrived + "1b 0000e677d21fdc00"),
		"a key of an integer":          "a2" + hexRecords + "80 01 01",
		"an unknown key of bytes":      "a2" + hexRecords + "80 61 61 a1 41 61 01",
		"a key of bytes":               "a2" + hexRecords + "80 41 61 01",
		"a lag of a float":             "a2" + hexRecords + "80" + hexLag + "fb 3ff0000000000000",
		"a lag of text":                "a2" + hexRecords + "80" + hexLag + "61 31",
		"a lag beyond 63 bits":         "a2" + hexRecords + "80" + hexLag + "1b 8000000000000000",
		"a next iterator of bytes":     "a2" + hexRecords + "80" + hexNext + "41 6e",
		"children are a text":          "a2" + hexRecords + "80" + hexChildren + "61 31",
		"more elements than bytes":     "a1" + hexRecords + "9b 7fffffffffffffff",
		"more elements than there are": "a1" + hexRecords + "82" + "a2" + hexSeq + "61 31" + hexData + "40",
		"a string beyond the end":      record(hexSeq + "61 31" + hexData + "5b ffffffffffffffff"),
		"a chunk of another type":      record(hexSeq + "7f 41 31 ff" + hexData + "40"),
		"a chunk that is open":         record(hexSeq + "7f 7f ff ff" + hexData + "40"),
		"a chunk that is tagged":       record(hexSeq + "7f c1 61 31 ff" + hexData + "40"),
		"a break for a value":          "bf" + hexRecords + "ff",
		"a break in a closed map":      "a1" + hexRecords + "81 ff",
		"a tag of nothing":             "a1" + hexRecords + "c1",
		"an open integer":              "a2" + hexRecords + "80 61 78 1f",
		"a reserved length":            "a2" + hexRecords + "80 61 78 1c",
		"an unknown simple value":      "a2" + hexRecords + "80 61 78 e5",
		"a simple value of a byte":     "a2" + hexRecords + "80 61 78 f8 ff",
		"a tagged key":                 "a2" + hexRecords + "80 c1 61 78 01",
		"depth":                        "a2" + hexRecords + "80 61 78" + strings.Repeat("81", cborDepth+1) + "80",
		"endless depth":                "a2" + hexRecords + "80 61 78" + strings.Repeat("9f", 1<<20),
	} {
		_, err := decodeOurCBOR(unhex(t, body))
		var refused *replyError
		if !errors.As(err, &refused) || refused.label != "Malformed" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What is not known is skipped, whatever it is.
func TestUnknownMembersOfCBORAreSkipped(t *testing.T) {
	for _, value := range []string{
		"00", "3903e7", "5f4101ff", "7f6161ff", "9f80a0ff", "bf6161f5ff", "a17f6141ff820102", "c1fb41d579a668b77ced", "f4",
		"f97c00", "fa00000000", "f7", "d9d9f780", strings.Repeat("81", cborDepth-1) + "80",
	} {
		body := unhex(t, "a2 63 4e6577"+value+hexRecords+"80")
		if _, err := decodeOurCBOR(body); err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// Data that comes in one piece stays where it is, and nothing is allocated for
// it.
func TestCBORDataIsNotCopied(t *testing.T) {
	data := strings.Repeat("x", 1<<20)
	w := cborWriter{}
	w.container(cborMap, 1, func(int) {
		w.text(cborText, "Records")
		w.container(cborArray, 100, func(int) {
			w.container(cborMap, 2, func(i int) {
				w.text(cborText, []string{"SequenceNumber", "Data"}[i])
				w.text([]byte{cborText, cborBytes}[i], []string{"1", data}[i])
			})
		})
	})
	before := bytes.Clone(w.b)
	var r *reply
	allocated := testing.AllocsPerRun(3, func() { r, _ = decodeCBOR(w.b, maxRecords) })
	switch {
	case r == nil || len(r.records) != 100 || string(r.records[99].data.of(w.b)) != data:
		t.Error("the data is not there")
	case !bytes.Equal(w.b, before) || allocated > 8:
		t.Errorf("the page was changed, or %v allocations made", allocated)
	}
}

func TestHalfFloats(t *testing.T) {
	for bits, want := range map[uint16]float64{
		0x0000: 0, 0x0001: 5.960464477539063e-8, 0x0400: 0.00006103515625, 0x3c00: 1, 0x3e00: 1.5, 0x7bff: 65504,
		0xc400: -4,
	} {
		if got := halfFloat(bits); got != want {
			t.Errorf("%04x: got %v, want %v", bits, got, want)
		}
	}
}

func TestFaultsInCBOR(t *testing.T) {
	body, _ := cborOf([]byte(`{"__type":"com.amazonaws#ExpiredIteratorException","x":[1],"message":"too old"}`), nil)
	got := decodeFault(body)
	if got != (cborFault{"com.amazonaws#ExpiredIteratorException", "too old"}) {
		t.Errorf("got %+v", got)
	}
	for n := range body {
		decodeFault(body[:n])
	}
}

func TestCBORIsToldFromJSON(t *testing.T) {
	for _, body := range replySeeds {
		if isCBOR([]byte(body)) {
			t.Errorf("%q is taken for CBOR", body)
		}
	}
	for name, body := range cborReplies {
		if !isCBOR(unhex(t, body)) || !isCBOR(unhex(t, "d9d9f7"+body)) {
			t.Errorf("%s is taken for JSON", name)
		}
	}
}
