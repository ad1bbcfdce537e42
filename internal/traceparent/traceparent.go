// Package traceparent knows the form in which an event carries the span that it
// was committed in: an attribute with the value that the header of that name
// has by the W3C's recommendation Trace Context, as CloudEvents' extension for
// distributed tracing has it too.
package traceparent

import (
	"encoding/hex"
	"strings"
)

// Attribute is the name of the attribute in gerritstream.Event.Attributes.
const Attribute = "traceparent"

// Length is that of a value of version 00, the only one that is known.
const Length = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")

// Context identifies a span.
type Context struct {
	Trace [16]byte
	Span  [8]byte
	Flags byte
}

// Sampled reports whether the span is kept: only then does a link to it lead
// anywhere.
func (c Context) Sampled() bool { return c.Flags&1 != 0 }

// String returns the value of version 00.
func (c Context) String() string {
	b := make([]byte, 0, Length)
	b = append(b, "00-"...)
	b = append(hex.AppendEncode(b, c.Trace[:]), '-')
	b = append(hex.AppendEncode(b, c.Span[:]), '-')
	return string(hex.AppendEncode(b, []byte{c.Flags}))
}

// Parse reads a value of version 00; ok is false for anything else.
func Parse(value string) (c Context, ok bool) {
	if len(value) != Length || !strings.HasPrefix(value, "00-") || value[35] != '-' || value[52] != '-' ||
		!decode(c.Trace[:], value[3:35]) || !decode(c.Span[:], value[36:52]) {
		return Context{}, false
	}
	var flags [1]byte
	if !decode(flags[:], value[53:]) || c.Trace == [16]byte{} || c.Span == [8]byte{} {
		return Context{}, false
	}
	c.Flags = flags[0]
	return c, true
}

// decode reads lower-case hexadecimal digits, two for each byte.
func decode(into []byte, digits string) bool {
	for i := range into {
		high, low := digit(digits[2*i]), digit(digits[2*i+1])
		if high > 15 || low > 15 {
			return false
		}
		into[i] = high<<4 | low
	}
	return true
}

// digit returns the value of a digit, or 255.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
