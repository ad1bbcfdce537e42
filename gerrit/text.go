package gerrit

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// text checks a string whose opening quote is before i. It returns the index
// after the closing quote, and whether the string has escapes.
func (s *scanner) text(i int) (end int, escaped bool) {
	data := s.data
	for {
		i = plain(data, i)
		if i >= len(data) {
			return s.fail(ReasonJSON, len(data), "the record ends within a string"), false
		}
		switch c := data[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			escaped = true
			i = s.escape(i)
		case c < ' ':
			return s.fail(ReasonJSON, i, "a control character within a string"), false
		default:
			i = s.multibyte(i)
		}
		if i < 0 {
			return i, false
		}
	}
}

// Eight equal bytes.
const (
	ones   = 0x0101010101010101
	highs  = 0x80 * ones
	quotes = '"' * ones
	slants = '\\' * ones
	spaces = ' ' * ones
)

// plain returns the index of the first byte from i on that is not a plain
// character of a string: a quote, a backslash, a control character, or part of
// a character beyond ASCII. It looks at eight bytes at once.
//
// Subtracting 1 sets the high bit of a byte that is 0, as a quote xor a quote
// is; subtracting a space sets that of a control character. A byte beyond ASCII
// has its high bit after the first subtraction, except A2, which has it after
// the last. A borrow can only spoil bytes above one that was found, so the
// lowest find is exact.
func plain(data []byte, i int) int {
	for ; i+8 <= len(data); i += 8 {
		w := binary.LittleEndian.Uint64(data[i : i+8])
		if found := (((w ^ quotes) - ones) | ((w ^ slants) - ones) | (w - spaces)) & highs; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(data); i++ {
		if c := data[i]; c == '"' || c == '\\' || c < ' ' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// multibyte checks the characters beyond ASCII that begin at i.
func (s *scanner) multibyte(i int) int {
	for i < len(s.data) && s.data[i] >= utf8.RuneSelf {
		r, size := utf8.DecodeRune(s.data[i:])
		if r == utf8.RuneError && size == 1 {
			return s.fail(ReasonUTF8, i, "not UTF-8, within a string")
		}
		i += size
	}
	return i
}

// escape checks the escape at i, both halves of it if it is a surrogate pair.
func (s *scanner) escape(i int) int {
	switch s.at(i + 1) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
	default:
		return s.fail(ReasonJSON, i, "an escape that JSON does not have")
	}
	first := unit(s.data, i)
	if first < 0 {
		return s.fail(ReasonJSON, i, "an escape without four hexadecimal digits")
	}
	if !utf16.IsSurrogate(first) {
		return i + 6
	}
	second := rune(-1)
	if s.at(i+6) == '\\' && s.at(i+7) == 'u' {
		second = unit(s.data, i+6)
	}
	if utf16.DecodeRune(first, second) == utf8.RuneError {
		return s.fail(ReasonSurrogate, i, "a surrogate escape without its other half")
	}
	return i + 12
}

// unit returns the code unit of the four hexadecimal digits after the \u at i,
// or -1 if they are none.
func unit(data []byte, i int) rune {
	if i+6 > len(data) {
		return -1
	}
	var r rune
	for _, c := range data[i+2 : i+6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unescape appends the value of a checked string, given without its quotes.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			i++
			continue
		}
		if raw[i+1] != 'u' {
			c := raw[i+1]
			if at := strings.IndexByte("bfnrt", c); at >= 0 {
				c = "\b\f\n\r\t"[at]
			}
			dst = append(dst, c)
			i += 2
			continue
		}
		r := unit(raw, i)
		i += 6
		if utf16.IsSurrogate(r) {
			r = utf16.DecodeRune(r, unit(raw, i))
			i += 6
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}
