package gerrit

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"unicode/utf8"
)

// A producer that encodes wrongly does so with every record. What a bad record
// looks like helps to find it. It is a guess from the record's first bytes, and
// quotes nothing of them.

// maxLook is how many bytes of a record are examined.
const maxLook = 64 << 10

// magic is a format and the bytes that it begins with.
type magic struct{ begins, name string }

// compressions may also occur within other encodings.
var compressions = []magic{
	{"\x1f\x8b", "gzip"},
	{"x\x01", "zlib"}, {"x\x9c", "zlib"}, {"x\xda", "zlib"},
	{"\x28\xb5\x2f\xfd", "zstd"},
	{"\xff\x06\x00\x00sNaPpY", "snappy"}, {"\x82SNAPPY\x00", "snappy"},
	{"\x04\x22\x4d\x18", "lz4"},
	{"BZh", "bzip2"},
	{"\xfd7zXZ\x00", "xz"},
}

// magics are further formats. None begins as an event does.
var magics = []magic{
	{"\xff\xfe\x00\x00", "UTF-32"}, {"\x00\x00\xfe\xff", "UTF-32"},
	{"{\x00\x00\x00", "UTF-32"}, {"\x00\x00\x00{", "UTF-32"},
	{"\xff\xfe", "UTF-16"}, {"\xfe\xff", "UTF-16"}, {"{\x00", "UTF-16"}, {"\x00{", "UTF-16"},
	{"\xef\xbb\xbf", "a byte-order mark before it"},
	{"Obj\x01", "Avro"}, {"\xc3\x01", "Avro"},
	{"\x00\x00", "a schema registry's prefix before it"}, {"\x03\x00", "a schema registry's prefix before it"},
	{"\x03\x05", "a schema registry's prefix before it"},
	{"\xac\xed\x00\x05", "a serialised Java object"},
	{"<", "XML or HTML"},
	{"\x1e", "a JSON text sequence"},
	{"%7B", "URL-encoded JSON"}, {"%7b", "URL-encoded JSON"},
	{"{'", "a dictionary as Python prints it"}, {"{u'", "a dictionary as Python prints it"},
	{"b'{", "bytes as Python prints them"},
}

// looksLike returns what a refused record seems to be, in a few words; "":
// unknown.
func looksLike(data []byte, f *Fault) string {
	data = data[:min(len(data), maxLook)]
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if len(trimmed) == 0 {
		return ""
	}
	switch {
	case f.Reason == ReasonType && isWrapped(trimmed):
		return "an event wrapped in another object"
	case trimmed[0] == '[' && bytes.HasPrefix(bytes.TrimLeft(trimmed[1:], " \t\r\n"), []byte("{")):
		return "an array of events"
	case f.Reason == ReasonJSON && isAnother(data, f.Offset):
		return "several events in one record"
	case trimmed[0] == '"':
		if inner := encoded(inString(trimmed), 0); inner != "" {
			return "a JSON string that holds " + inner
		}
		return ""
	case trimmed[0] == '{' && f.Reason != ReasonJSON && f.Reason != ReasonUTF8:
		return ""
	}
	if name := cmp.Or(begins(data, compressions), begins(data, magics)); name != "" {
		return name
	}
	switch name := encoded(trimmed, 0); {
	case isProtobuf(data):
		return "Protobuf"
	case isMap(data, 0x80, 0xa1, 0xbf):
		return "MessagePack"
	case isMap(data, 0xa0, 0x61, 0x77):
		return "CBOR"
	case name != "JSON":
		return name
	}
	return ""
}

// begins names the format that data begins with; "": none.
func begins(data []byte, forms []magic) string {
	for _, m := range forms {
		if bytes.HasPrefix(data, []byte(m.begins)) {
			return m.name
		}
	}
	return ""
}

const (
	encodings = 3  // how many encodings are removed, one within the other
	probe     = 64 // how many characters of text are decoded
)

// encoded names what text encodes, or JSON; "": unknown.
func encoded(data []byte, times int) string {
	data = bytes.TrimSpace(data)
	switch {
	case len(data) == 0 || times == encodings:
		return ""
	case beginsObject(data):
		return "JSON"
	}
	if name := begins(data, compressions); name != "" && times > 0 {
		return name
	}
	if plain, ok := fromHex(data); ok {
		if inner := encoded(plain, times+1); inner != "" {
			return "hexadecimal of " + inner
		}
	}
	if plain, ok := fromBase64(data); ok {
		if inner := encoded(plain, times+1); inner != "" {
			return "base64 of " + inner
		}
	}
	return ""
}

// beginsObject reports whether text begins like an object or an array of
// objects. One byte is not enough: "example" is base64 of a brace.
func beginsObject(text []byte) bool {
	rest := bytes.TrimLeft(text[1:], " \t\r\n")
	return text[0] == '{' && bytes.HasPrefix(rest, []byte(`"`)) || text[0] == '[' && bytes.HasPrefix(rest, []byte("{"))
}

func fromHex(text []byte) ([]byte, bool) {
	text = text[:min(len(text), probe)&^1]
	plain := make([]byte, hex.DecodedLen(len(text)))
	_, err := hex.Decode(plain, text)
	return plain, err == nil && len(plain) > 0
}

// fromBase64 decodes the beginning of text in either alphabet, with or without
// padding.
func fromBase64(text []byte) ([]byte, bool) {
	text = bytes.TrimRight(text[:min(len(text), probe)], "=\r\n")
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		plain := make([]byte, encoding.DecodedLen(len(text)))
		if n, err := encoding.Decode(plain, text); err == nil && n > 0 {
			return plain[:n], true
		}
	}
	return nil, false
}

// inString returns the beginning of the value of the string that data begins
// with, whether it ends or not.
func inString(data []byte) []byte {
	raw := data[1:min(len(data), 1+6*probe)]
	end := 0
	for end < len(raw) && raw[end] != '"' {
		size := 1
		if raw[end] == '\\' {
			size = 2
			if end+1 < len(raw) && raw[end+1] == 'u' {
				size = 6
			}
		}
		if end+size > len(raw) {
			break
		}
		end += size
	}
	return unescape(make([]byte, 0, end), raw[:end])
}

// isAnother reports whether one object ends before an offset and another begins
// there.
func isAnother(data []byte, offset int) bool {
	if offset == 0 || offset >= len(data) {
		return false
	}
	before := bytes.TrimRight(data[:offset], " \t\r\n")
	switch data[offset] {
	case '{', ',', '\x1e': // with nothing, a newline or a comma between, or as JSON text sequences
		s := scanner{data: before}
		i := s.space(0)
		return s.at(i) == '{' && s.value(i, 0, noMember) == len(before)
	}
	return false
}

// isWrapped reports whether an object within valid JSON has the type of a known
// event, or whether a string in it begins like an object.
func isWrapped(data []byte) bool {
	s := scanner{data: data}
	for i, depth := 0, 0; i < len(data); {
		switch data[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end, _ := s.text(i + 1)
			if end < 0 {
				return false // cut by maxLook
			}
			colon := s.space(end)
			if s.at(colon) == ':' && wraps(&s, data[i+1:end-1], s.space(colon+1), depth) {
				return true
			}
			i = end
			continue
		}
		i++
	}
	return false
}

// wraps reports whether a member, whose value begins at i, shows that its
// object or its string is an event.
func wraps(s *scanner, name []byte, i, depth int) bool {
	if s.at(i) != '"' {
		return false
	}
	end, _ := s.text(i + 1)
	if end < 0 {
		return false
	}
	value := s.data[i+1 : end-1]
	return depth > 1 && string(name) == "type" && Label(value) != OtherType || bytes.HasPrefix(value, []byte(`{\"`))
}

// isProtobuf reports whether data begins with a text field and another field,
// as a message with an event might.
func isProtobuf(data []byte) bool {
	if len(data) < 4 || data[0]&7 != 2 || data[0]>>3 == 0 || data[0] > 0x7a || data[0] >= ' ' && data[0] != '"' {
		return false
	}
	n := int(data[1])
	if n == 0 || n >= 0x80 || len(data) <= 2+n || !isPlain(data[2:2+n]) {
		return false
	}
	next := data[2+n]
	return next>>3 != 0 && (next&7 == 0 || next&7 == 2) && next < ' '
}

// isMap reports whether data begins with a small map whose first name is a
// short text, in a format that has the length of a map in the low four bits of
// a byte and that of a text in a byte from first to last.
func isMap(data []byte, maps, first, last byte) bool {
	if len(data) < 3 || data[0]&0xf0 != maps || data[0] == maps || data[1] < first || data[1] > last {
		return false
	}
	n := int(data[1]-first) + 1
	return len(data) >= 2+n && isPlain(data[2:2+n])
}

// isPlain reports whether text is printable ASCII.
func isPlain(text []byte) bool {
	return bytes.IndexFunc(text, func(r rune) bool { return r < ' ' || r >= utf8.RuneSelf-1 }) < 0
}
