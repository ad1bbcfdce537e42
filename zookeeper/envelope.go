package zookeeper

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/bits"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/traceparent"
)

// The parts of a node of Zuul's queue around the payload and the values, in the
// order in which Zuul's own encoder writes them. The payload is never parsed.
const (
	envelopeOpen  = `{"event_data": `
	envelopeClose = `}`
	pathOpen      = `{"event_data_path": `
	pathClose     = `}`

	eventOpen      = `{"payload": `
	eventSpan      = `, "span_context": `
	eventTimestamp = `, "timestamp": `
	eventID        = `, "zuul_event_id": "`
	eventClose     = `"}`
)

// The parts of the value of span_context, around the numbers.
const (
	noSpan    = `null`
	spanID    = `{"span_id": `
	spanFlags = `, "trace_flags": `
	spanTrace = `, "trace_id": `
	spanClose = `}`
)

// maxSpan bounds the size of a value of span_context.
const maxSpan = len(spanID) + 20 + len(spanFlags) + 3 + len(spanTrace) + 39 + len(spanClose)

// envelopeOverhead bounds an envelope's size besides its payload.
const envelopeOverhead = len(envelopeOpen) + len(envelopeClose) + len(eventOpen) + len(eventSpan) + maxSpan +
	len(eventTimestamp) + len(eventID) + len(eventClose) + 32 + 24

// appendEnvelope appends an entry as a node of Zuul's queue. written is the
// event's timestamp.
func appendEnvelope(b []byte, e *gerritstream.Entry, written time.Time) []byte {
	b = append(b, envelopeOpen...)
	b = append(b, eventOpen...)
	b = append(b, e.Payload...)
	b = appendEventTail(b, e, written)
	return append(b, envelopeClose...)
}

// appendEventTail appends what follows the payload in the value of event_data.
func appendEventTail(b []byte, e *gerritstream.Entry, written time.Time) []byte {
	b = append(b, eventSpan...)
	b = appendSpan(b, e.Event.Attributes[traceparent.Attribute])
	b = append(b, eventTimestamp...)
	b = appendTimestamp(b, written)
	b = append(b, eventID...)
	b = hex.AppendEncode(b, e.ID[:])
	return append(b, eventClose...)
}

// appendSpan appends the span that an event was committed in, in the form in
// which Zuul keeps its own: all three are integers, and a part that is missing
// would block Zuul's queue. Zuul links its work on the event to this span,
// whatever the flags say, so a span that nobody keeps is left out: the link
// would lead nowhere.
func appendSpan(b []byte, value string) []byte {
	if value == "" {
		return append(b, noSpan...)
	}
	span, ok := traceparent.Parse(value)
	if !ok || !span.Sampled() {
		return append(b, noSpan...)
	}
	b = append(b, spanID...)
	b = strconv.AppendUint(b, binary.BigEndian.Uint64(span.Span[:]), 10)
	b = append(b, spanFlags...)
	b = strconv.AppendUint(b, uint64(span.Flags), 10)
	b = append(b, spanTrace...)
	b = appendUint128(b, span.Trace)
	return append(b, spanClose...)
}

// appendUint128 appends a number of 16 bytes, the highest first, in decimal: by
// 19 digits at a time, as many as fit into 64 bits.
func appendUint128(b []byte, number [16]byte) []byte {
	const most = 1e19
	high, low := binary.BigEndian.Uint64(number[:8]), binary.BigEndian.Uint64(number[8:])
	if high == 0 {
		return strconv.AppendUint(b, low, 10)
	}
	rest, last := bits.Div64(high%most, low, most)
	first, middle := bits.Div64(high/most, rest, most)
	if first > 0 {
		b = appendPadded(strconv.AppendUint(b, first, 10), middle)
	} else {
		b = strconv.AppendUint(b, middle, 10)
	}
	return appendPadded(b, last)
}

// appendPadded appends a number of 19 digits, with zeros before it.
func appendPadded(b []byte, n uint64) []byte {
	for least := uint64(1e18); least > n && least > 1; least /= 10 {
		b = append(b, '0')
	}
	return strconv.AppendUint(b, n, 10)
}

// appendTimestamp appends a time as Python prints a float of seconds.
func appendTimestamp(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	b = strconv.AppendFloat(b, float64(ms)/1000, 'f', -1, 64)
	if ms%1000 == 0 {
		b = append(b, ".0"...)
	}
	return b
}

// appendLargeEventPath appends a node of Zuul's queue whose event is in nodes
// of its own.
func appendLargeEventPath(b []byte, path string) []byte {
	quoted, _ := json.Marshal(path) // a string never fails
	b = append(b, pathOpen...)
	b = append(b, quoted...)
	return append(b, pathClose...)
}
