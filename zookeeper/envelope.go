package zookeeper

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
)

// The parts of a node of Zuul's queue around the payload and the values, in the
// order in which Zuul's own encoder writes them. The payload is never parsed.
const (
	envelopeOpen  = `{"event_data": `
	envelopeClose = `}`
	pathOpen      = `{"event_data_path": `
	pathClose     = `}`

	eventOpen      = `{"payload": `
	eventTimestamp = `, "span_context": null, "timestamp": `
	eventID        = `, "zuul_event_id": "`
	eventClose     = `"}`
)

// envelopeOverhead bounds an envelope's size besides its payload.
const envelopeOverhead = len(envelopeOpen) + len(envelopeClose) + len(eventOpen) + len(eventTimestamp) + len(eventID) +
	len(eventClose) + 32 + 24

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
	b = append(b, eventTimestamp...)
	b = appendTimestamp(b, written)
	b = append(b, eventID...)
	b = hex.AppendEncode(b, e.ID[:])
	return append(b, eventClose...)
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
