package gerrit_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/gerritstream/gerritstream/gerrit"
)

// encodings are ways to spoil an event, and what the result looks like.
var encodings = []struct {
	looks string
	spoil func(event string) string
}{
	{"gzip", func(e string) string { return packed(e, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }) }},
	{"zlib", func(e string) string { return packed(e, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }) }},
	{"zstd", func(e string) string { return "\x28\xb5\x2f\xfd\x24" + e }},
	{"snappy", func(e string) string { return "\xff\x06\x00\x00sNaPpY\x01" + e }},
	{"lz4", func(e string) string { return "\x04\x22\x4d\x18\x64" + e }},
	{"base64 of JSON", in64},
	{"base64 of base64 of JSON", func(e string) string { return in64(in64(e)) }},
	{"base64 of gzip", func(e string) string {
		return base64.RawURLEncoding.EncodeToString(
			[]byte(packed(e, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })))
	}},
	{"hexadecimal of JSON", func(e string) string { return hex.EncodeToString([]byte(e)) }},
	{"UTF-16", func(e string) string { return inUTF16(e, binary.LittleEndian, "\xff\xfe") }},
	{"UTF-16", func(e string) string { return inUTF16(e, binary.BigEndian, "\xfe\xff") }},
	{"UTF-16", func(e string) string { return inUTF16(e, binary.LittleEndian, "") }},
	{"UTF-16", func(e string) string { return inUTF16(e, binary.BigEndian, "") }},
	{"UTF-32", func(e string) string { return "{\x00\x00\x00" + e }},
	{"a byte-order mark before it", func(e string) string { return "\ufeff" + e }},
	{"several events in one record", func(e string) string { return e + "\n" + e + "\n" + e }},
	{"several events in one record", func(e string) string { return e + e }},
	{"several events in one record", func(e string) string { return e + ",\n" + e }},
	{"several events in one record", func(e string) string { return e + "\n\x1e" + e }},
	{"an array of events", func(e string) string { return "[ " + e + "," + e + "]" }},
	{"an event wrapped in another object", func(e string) string { return `{"event":` + e + `}` }},
	{"an event wrapped in another object", func(e string) string { return `{"Records":[{"body":` + e + `}]}` }},
	{"an event wrapped in another object", func(e string) string { return `{"Message":` + asString(e) + `}` }},
	{"a JSON text sequence", func(e string) string { return "\x1e" + e }},
	{"a JSON string that holds JSON", asString},
	{"a JSON string that holds base64 of JSON", func(e string) string { return `"` + in64(e) + `"` }},
	{"URL-encoded JSON", url.QueryEscape},
	{"Avro", func(e string) string { return "Obj\x01\x04\x14avro.codec" + e }},
	{"a schema registry's prefix before it", func(e string) string { return "\x00\x00\x00\x00\x07" + e }},
	{"Protobuf", func(e string) string { return "\x0a\x10patchset-created\x12\x05" + e }},
	{"MessagePack", func(e string) string { return "\x83\xa4type\xb0" + e }},
	{"CBOR", func(e string) string { return "\xa3\x64type\x70" + e }},
	{"a dictionary as Python prints it", func(string) string { return `{'type': 'comment-added'}` }},
	{"XML or HTML", func(e string) string { return "<event>" + e + "</event>" }},
}

func packed(event string, by func(io.Writer) io.WriteCloser) string {
	var b bytes.Buffer
	w := by(&b)
	if _, err := io.WriteString(w, event); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func in64(event string) string { return base64.StdEncoding.EncodeToString([]byte(event)) }

func asString(event string) string {
	b, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func inUTF16(event string, order binary.AppendByteOrder, mark string) string {
	b := []byte(mark)
	for _, unit := range utf16.Encode([]rune(event)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// TestABadRecordIsNamed spoils events as producers do: the fault names what the
// record looks like, in a few words and none of the record's.
func TestABadRecordIsNamed(t *testing.T) {
	for _, c := range encodings {
		for _, name := range gerrit.Types() {
			event := strings.NewReplacer("example", "SECRET", "Muster", "SECRET").Replace(
				string(readEvent(t, name)))
			_, err := gerrit.Scan([]byte(c.spoil(event)))
			var fault *gerrit.Fault
			if !errors.As(err, &fault) {
				t.Fatalf("%s of %s: %v", c.looks, name, err)
			}
			if fault.Looks != c.looks || !strings.HasSuffix(fault.Detail, "; it looks like "+c.looks) {
				t.Errorf("%s of %s: looks like %q: %s", c.looks, name, fault.Looks, fault.Detail)
			}
			if len(fault.Detail) >= 200 || strings.Contains(fault.Detail, "SECRET") {
				t.Errorf("%s of %s: %s", c.looks, name, fault.Detail)
			}
		}
	}
}

// TestCutRecordsAreNamedToo: a record may end, or be damaged, anywhere.
func TestCutRecordsAreNamedToo(t *testing.T) {
	event := `{"type":"ref-updated","comment":"\ud83d\ude00\n","refUpdate":{"refName":"refs/tags/v1"}}`
	for _, c := range encodings {
		spoiled := []byte(c.spoil(event))
		for end := range spoiled {
			_, _ = gerrit.Scan(spoiled[:end:end])
			for _, b := range []byte("\\\"{u\x00\xff") {
				damaged := bytes.Clone(spoiled)
				damaged[end] = b
				if _, err := gerrit.Scan(damaged); err != nil && len(err.Error()) >= 200 {
					t.Errorf("%s: %v", c.looks, err)
				}
			}
		}
	}
}

// TestDamagedRecordsAreNotNamed: a record that is only damaged, cut or of the
// wrong shape looks like nothing else.
func TestDamagedRecordsAreNotNamed(t *testing.T) {
	for _, c := range []string{
		"", " ", "\n", "{", "{}", "[]", "[7]", "7", "null", "true", `"x"`, `"{"`, "example", `"example"`, "7b7b", `"\`,
		`"{\`, `"\u12`, `"\ud83d\u`, `"\ud83d"`, "type", "deadbeef", "abcd", "Hello, world!", "comment-added",
		`{"type":7}`, `{"type":7,"change":{"type":"x"}}`, `{"approvals":[{"type":"Verified"}]}`,
		`{"type":"x","change":[]}`, `{"a":1}}`, `{"a":1} x`,
		`{"a":{"b":1},{"c":1}}`, "\x80\x80\x80", "\x0a\x05hel",
	} {
		_, err := gerrit.Scan([]byte(c))
		var fault *gerrit.Fault
		if !errors.As(err, &fault) {
			t.Fatalf("%q: %v", c, err)
		}
		if fault.Looks != "" {
			t.Errorf("%q looks like %q", c, fault.Looks)
		}
	}
	for _, name := range gerrit.Types() {
		event := readEvent(t, name)
		for end := range event {
			_, err := gerrit.Scan(event[:end])
			var fault *gerrit.Fault
			if errors.As(err, &fault) && fault.Looks != "" {
				t.Fatalf("the first %d bytes of a %s look like %q", end, name, fault.Looks)
			}
		}
	}
}
