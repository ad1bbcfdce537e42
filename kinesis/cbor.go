package kinesis

import (
	"encoding/binary"
	"math"
)

// Major types of CBOR (RFC 8949).
const (
	cborUint = iota
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	cborSimple
)

const (
	cborOpen      = 31 // additional information: the length is not given, a break ends the item
	cborFalse     = 0xf4
	cborNull      = 0xf6
	cborUndefined = 0xf7
	cborBreak     = 0xff

	cborDepth = 64 // containers within each other
)

// isCBOR reports whether a body is CBOR and not JSON. The reply's own bytes are
// a surer sign than its Content-Type, which a proxy may change: no JSON begins
// with such a byte, and no map of CBOR, tagged or not, begins with another.
func isCBOR(body []byte) bool { return len(body) > 0 && body[0] >= cborMap<<5 }

// cborScanner passes once over an item of CBOR. Its methods advance past what
// they take. Lengths are believed only as far as there are bytes.
type cborScanner struct {
	b  []byte
	at int
}

// cborHead is what an item begins with.
type cborHead struct {
	major, info byte
	value       uint64 // the integer, the length, or the bits of a float
}

func (h cborHead) isOpen() bool { return h.info == cborOpen }

// expected is that of scanner.
//
//go:noinline
func (s *cborScanner) expected(what string) error { return notUnderstood(s.at, what) }

// head takes the beginning of an item. Tags are skipped: what an item must be,
// its place says.
func (s *cborScanner) head() (cborHead, error) {
	for {
		h, err := s.untagged()
		if err != nil || h.major != cborTag {
			return h, err
		}
	}
}

// untagged takes the beginning of an item that may be a tag.
func (s *cborScanner) untagged() (h cborHead, err error) {
	if s.at >= len(s.b) {
		return h, s.expected("an item")
	}
	first := s.b[s.at]
	h.major, h.info = first>>5, first&31
	rest := s.b[s.at+1:]
	size := 0
	switch {
	case h.info < 24:
		h.value = uint64(h.info)
	case h.info == 24 && len(rest) >= 1:
		h.value, size = uint64(rest[0]), 1
	case h.info == 25 && len(rest) >= 2:
		h.value, size = uint64(binary.BigEndian.Uint16(rest)), 2
	case h.info == 26 && len(rest) >= 4:
		h.value, size = uint64(binary.BigEndian.Uint32(rest)), 4
	case h.info == 27 && len(rest) >= 8:
		h.value, size = binary.BigEndian.Uint64(rest), 8
	case h.info == cborOpen && h.major >= cborBytes && h.major <= cborMap:
	default:
		return h, s.expected("an item")
	}
	s.at += 1 + size
	return h, nil
}

// peek returns the major type of the next item, or a value that is none.
func (s *cborScanner) peek() (major byte) {
	at := s.at
	h, err := s.head()
	s.at = at
	if err != nil {
		return 0xff
	}
	return h.major
}

// null reports whether it took a null, or an undefined as JavaScript writes for
// what is not there.
func (s *cborScanner) null() bool {
	if s.at < len(s.b) && (s.b[s.at] == cborNull || s.b[s.at] == cborUndefined) {
		s.at++
		return true
	}
	return false
}

// closed reports whether it took the break that ends an open item.
func (s *cborScanner) closed() bool {
	if s.at < len(s.b) && s.b[s.at] == cborBreak {
		s.at++
		return true
	}
	return false
}

// bytes returns the string that begins with a head, a part of the buffer. The
// chunks of an open one are joined in place.
func (s *cborScanner) bytes(h cborHead) (span, error) {
	if !h.isOpen() {
		return s.chunk(h)
	}
	joined := span{s.at, s.at}
	for !s.closed() {
		next, err := s.untagged()
		if err == nil && (next.major != h.major || next.isOpen()) {
			err = s.expected("a chunk of a string")
		}
		if err != nil {
			return span{}, err
		}
		chunk, err := s.chunk(next)
		if err != nil {
			return span{}, err
		}
		joined.to += copy(s.b[joined.to:], chunk.of(s.b))
	}
	return joined, nil
}

func (s *cborScanner) chunk(h cborHead) (span, error) {
	if h.value > uint64(len(s.b)-s.at) { //nolint:gosec // never negative
		return span{}, s.expected("the end of a string")
	}
	from := s.at
	s.at += int(h.value) //nolint:gosec // no more than there is
	return span{from, s.at}, nil
}

// text takes a text. A tag before it is refused, as keys have none.
func (s *cborScanner) text() (span, error) {
	h, err := s.untagged()
	if err != nil {
		return span{}, err
	}
	if h.major != cborText {
		return span{}, s.expected("a text")
	}
	return s.bytes(h)
}

// begin takes the beginning of a container and returns how many elements it
// has; negative: a break ends it.
func (s *cborScanner) begin(major byte, what string) (elements int, err error) {
	h, err := s.head()
	switch {
	case err != nil:
		return 0, err
	case h.major != major:
		return 0, s.expected(what)
	case h.isOpen():
		return -1, nil
	case h.value > uint64(len(s.b)-s.at): //nolint:gosec // never negative; each takes a byte
		return 0, s.expected("as many elements as there should be")
	}
	return int(h.value), nil //nolint:gosec // no more than there are bytes
}

// ends reports whether a container has no further element. It counts down left,
// or takes the break.
func (s *cborScanner) ends(left *int) bool {
	if *left < 0 {
		return s.closed()
	}
	*left--
	return *left < 0
}

// object takes a map. It calls member with each key, to take the value.
func (s *cborScanner) object(member func(key []byte) error) error {
	left, err := s.begin(cborMap, "a map")
	if err != nil {
		return err
	}
	for !s.ends(&left) {
		key, err := s.text()
		if err != nil {
			return err
		}
		if err := member(key.of(s.b)); err != nil {
			return err
		}
	}
	return nil
}

// array takes an array, or a null in its place. It calls element to take each
// element.
func (s *cborScanner) array(element func() error) error {
	if s.null() {
		return nil
	}
	left, err := s.begin(cborArray, "an array")
	if err != nil {
		return err
	}
	for !s.ends(&left) {
		if err := element(); err != nil {
			return err
		}
	}
	return nil
}

// skip takes any item.
func (s *cborScanner) skip() error { return s.skipWithin(0) }

func (s *cborScanner) skipWithin(depth int) error {
	if depth > cborDepth {
		return s.expected("items less deep within each other")
	}
	at := s.at
	h, err := s.head()
	if err != nil {
		return err
	}
	switch h.major {
	case cborBytes, cborText:
		_, err = s.bytes(h)
		return err
	case cborSimple:
		if h.info < cborFalse&31 || h.info > cborUndefined&31 && h.info < 25 {
			return s.expected("a simple value")
		}
	case cborArray, cborMap:
		s.at = at
		left, err := s.begin(h.major, "a container")
		if err != nil {
			return err
		}
		for !s.ends(&left) {
			if h.major == cborMap {
				if _, err := s.text(); err != nil {
					return err
				}
			}
			if err := s.skipWithin(depth + 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// float returns the value of a number.
func (h cborHead) float() float64 {
	switch {
	case h.major == cborUint:
		return float64(h.value)
	case h.major != cborSimple:
	case h.info == 25:
		return halfFloat(uint16(h.value)) //nolint:gosec // two bytes
	case h.info == 26:
		return float64(math.Float32frombits(uint32(h.value))) //nolint:gosec // four bytes
	case h.info == 27:
		return math.Float64frombits(h.value)
	}
	return math.NaN()
}

// halfFloat is a float of two bytes.
func halfFloat(bits uint16) float64 {
	fraction, exponent := float64(bits&0x3ff), int(bits>>10&0x1f)
	value := math.Ldexp(fraction+1024, exponent-25)
	switch exponent {
	case 0:
		value = math.Ldexp(fraction, -24)
	case 31:
		return math.NaN() // or infinite
	}
	if bits>>15 != 0 {
		return -value
	}
	return value
}
