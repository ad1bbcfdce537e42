package kinesis

import (
	"bytes"
	"encoding/json"
)

// span is a part of a buffer.
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to:s.to] }

// scanner passes once over a JSON text and accepts what encoding/json does. Its
// methods advance past what they take.
type scanner struct {
	b  []byte
	at int
}

// expected returns the error of a reply that is not JSON, or not what it should
// be. Inlined, it would slow its callers down.
//
//go:noinline
func (s *scanner) expected(what string) error { return notUnderstood(s.at, what) }

// notUnderstood quotes nothing of the reply, which holds payload.
func notUnderstood(at int, what string) error {
	return malformed("the reply is not understood at byte %d: expected %s", at, what)
}

// peek skips white space and returns the next byte, or 0 at the end, without
// taking it.
func (s *scanner) peek() byte {
	for s.at < len(s.b) {
		switch c := s.b[s.at]; c {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// take skips white space, and reports whether it took c as the next byte.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// null reports whether it took a null.
func (s *scanner) null() bool {
	if s.peek() != 'n' || !bytes.HasPrefix(s.b[s.at:], []byte("null")) {
		return false
	}
	s.at += len("null")
	return true
}

// object takes an object. It calls member with each key, to take the value.
func (s *scanner) object(member func(key []byte) error) error {
	if !s.take('{') {
		return s.expected("{")
	}
	if s.take('}') {
		return nil
	}
	for {
		key, err := s.text()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return s.expected(":")
		}
		if err := member(key); err != nil {
			return err
		}
		if s.take(',') {
			continue
		}
		if s.take('}') {
			return nil
		}
		return s.expected(", or }")
	}
}

// array takes an array, or a null in its place. It calls element to take each
// element.
func (s *scanner) array(element func() error) error {
	if s.null() {
		return nil
	}
	if !s.take('[') {
		return s.expected("[")
	}
	if s.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.take(',') {
			continue
		}
		if s.take(']') {
			return nil
		}
		return s.expected(", or ]")
	}
}

// quoted takes a string and returns what is written between its quotes. It
// checks neither escapes nor characters.
func (s *scanner) quoted() (raw span, escaped bool, err error) {
	if !s.take('"') {
		return span{}, false, s.expected("a string")
	}
	from := s.at
	for {
		end := bytes.IndexByte(s.b[s.at:], '"')
		if end < 0 {
			s.at = len(s.b)
			return span{}, false, s.expected("the end of a string")
		}
		escape := bytes.IndexByte(s.b[s.at:s.at+end], '\\')
		if escape < 0 {
			s.at += end + 1
			return span{from, s.at - 1}, escaped, nil
		}
		escaped = true
		s.at = min(s.at+escape+2, len(s.b))
	}
}

// text takes a string and returns its value: a part of the buffer, or a copy if
// there are escapes.
func (s *scanner) text() ([]byte, error) {
	raw, escaped, err := s.quoted()
	if err != nil {
		return nil, err
	}
	if escaped {
		return s.unquote(raw)
	}
	text := raw.of(s.b)
	for _, c := range text {
		if c < ' ' {
			return nil, s.expected("no control character in a string")
		}
	}
	return text, nil
}

// unquote resolves the escapes of a string in newly allocated memory.
func (s *scanner) unquote(raw span) ([]byte, error) {
	var text string
	if json.Unmarshal(s.b[raw.from-1:raw.to+1], &text) != nil {
		return nil, s.expected("no broken escape in a string")
	}
	return []byte(text), nil
}

// number takes a number and returns its digits.
func (s *scanner) number() ([]byte, error) {
	s.peek()
	from := s.at
	for s.at < len(s.b) && isNumeric(s.b[s.at]) {
		s.at++
	}
	number := s.b[from:s.at:s.at]
	if !json.Valid(number) {
		return nil, s.expected("a number")
	}
	return number, nil
}

func isNumeric(c byte) bool {
	return '0' <= c && c <= '9' || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E'
}

// skip takes any value.
func (s *scanner) skip() error {
	if s.peek() == '"' {
		_, err := s.text()
		return err
	}
	from := s.at
	for depth := 0; s.at < len(s.b); {
		switch c := s.b[s.at]; c {
		case '"':
			if _, _, err := s.quoted(); err != nil {
				return err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 {
				return s.skipped(from)
			}
			if c != ',' {
				depth--
			}
		}
		s.at++
	}
	return s.skipped(from)
}

// skipped checks what skip took.
func (s *scanner) skipped(from int) error {
	if !json.Valid(s.b[from:s.at]) {
		return s.expected("a value")
	}
	return nil
}

// lastArrival is the end of the year 9999 in ms, the last that RFC 3339 can
// write.
const lastArrival = 253_402_300_799_999

var errArrival = malformed("an arrival time is not a number of seconds between 1970 and 9999")

// parseSeconds converts a JSON number of seconds to milliseconds, rounded to
// the nearest. The service writes "1441215410.867" or, more often,
// "1.441215410867E9".
func parseSeconds(number []byte) (ms int64, err error) {
	mantissa, exponent, ok := splitDecimal(number)
	if !ok {
		return 0, errArrival
	}
	exponent += 3 // seconds to milliseconds
	for ; exponent > 0 && mantissa <= lastArrival; exponent-- {
		mantissa *= 10
	}
	rest := int64(0)
	for ; exponent < 0 && (mantissa > 0 || rest > 0); exponent++ {
		mantissa, rest = mantissa/10, mantissa%10
	}
	if rest >= 5 {
		mantissa++
	}
	if mantissa > lastArrival {
		return 0, errArrival
	}
	return mantissa, nil
}

// maxMantissa bounds the mantissa so that one more digit fits.
const maxMantissa = (1<<63 - 10) / 10

// splitDecimal splits an unsigned JSON number into mantissa and decimal
// exponent. Digits after the eighteenth only count for the exponent.
func splitDecimal(number []byte) (mantissa int64, exponent int, ok bool) {
	i, fraction := 0, false
	for ; i < len(number); i++ {
		c := number[i]
		switch {
		case c == '.':
			fraction = true
			continue
		case c < '0' || c > '9':
		case mantissa <= maxMantissa:
			mantissa = mantissa*10 + int64(c-'0')
			if fraction {
				exponent--
			}
			continue
		default:
			if !fraction {
				exponent++
			}
			continue
		}
		break
	}
	if i == len(number) {
		return mantissa, exponent, true
	}
	if number[i]|0x20 != 'e' {
		return 0, 0, false
	}
	i++
	sign, power := 1, 0
	if i < len(number) && (number[i] == '+' || number[i] == '-') {
		if number[i] == '-' {
			sign = -1
		}
		i++
	}
	first := i
	for ; i < len(number) && number[i]-'0' <= 9; i++ {
		power = min(power*10+int(number[i]-'0'), 1000) // more makes no difference
	}
	return mantissa, exponent + sign*power, i == len(number) && i > first
}
