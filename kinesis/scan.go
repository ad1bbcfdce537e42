package kinesis

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// span is a part of a buffer.
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to:s.to] }

// scanner walks once over a JSON text and accepts what encoding/json does. Its
// methods leave at behind what they took.
type scanner struct {
	b  []byte
	at int
}

// syntaxError says where a reply is no JSON, or not what it should be. The
// reply itself is not in it: it holds payload.
type syntaxError struct {
	at   int
	want string
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("not understood at byte %d: expected %s", e.at, e.want)
}

func (s *scanner) expected(what string) error { return &syntaxError{s.at, what} }

// peek skips white space and returns the next byte without taking it; 0 at the
// end.
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

// take skips white space, and the byte c if it is next.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// null takes a null if one is next.
func (s *scanner) null() bool {
	if s.peek() != 'n' || !bytes.HasPrefix(s.b[s.at:], []byte("null")) {
		return false
	}
	s.at += len("null")
	return true
}

// object takes an object and calls member with each key; member takes the
// value.
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

// array takes an array, or a null in its place, and calls element for each
// element, which takes it.
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

// quoted takes a string and returns what is between its quotes, as it is. It
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

// text takes a string and returns what it says: a part of the buffer, or a copy
// if there are escapes.
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

// unquote resolves the escapes of a string, into memory of its own.
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
