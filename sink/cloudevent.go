package sink

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
)

// AppendCloudEvent appends an entry as a CloudEvents 1.0 event in JSON, with
// the attributes that Stdout writes and without a line end. An empty source
// becomes "gerritstream".
func AppendCloudEvent(b []byte, source string, e *gerritstream.Entry) []byte {
	s := Stdout{source: appendString(nil, cmp.Or(source, defaultSource))}
	b = s.appendEvent(b, e)
	return b[:len(b)-1]
}

// appendEvent appends an entry as one line, a CloudEvents 1.0 event in JSON:
//
//	specversion, id,      as in CloudEvents; the id is the same on every
//	source, type          delivery, the type is Gerrit's, or "record"
//	time                  when the producer made the event, else its arrival
//	shard, seq, sub,      its place in the stream; sub only within an
//	arrived               aggregate
//	project, ref, change  if the event has them
//	other attributes      of Event.Attributes, if CloudEvents allows the name
//	                      and it is not taken
//	data                  the payload as received, if it is one JSON value in
//	                      UTF-8
//	data_base64           any other payload
//
// The payload is never parsed and written again. Only line breaks between its
// tokens become spaces; JSON has none within strings.
func (s *Stdout) appendEvent(b []byte, e *gerritstream.Entry) []byte {
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = hex.AppendEncode(b, e.ID[:])
	b = append(b, `","source":`...)
	b = append(b, s.source...)
	b = appendText(b, "type", cmp.Or(e.Event.Type, "record"))
	b = appendTime(b, "time", cmp.Or(e.Event.Created, e.Arrived))
	b = appendText(b, "shard", string(e.Shard))
	b = appendText(b, "seq", string(e.Seq))
	if e.Sub != gerritstream.NoSub {
		b = strconv.AppendInt(append(b, `,"sub":`...), int64(e.Sub), 10)
	}
	b = appendTime(b, "arrived", e.Arrived)
	if e.Event.Project != "" {
		b = appendText(b, "project", e.Event.Project)
	}
	if e.Event.Ref != "" {
		b = appendText(b, "ref", e.Event.Ref)
	}
	if n := e.Event.Change; n > 0 && n <= math.MaxInt32 { // CloudEvents has no larger integers
		b = strconv.AppendInt(append(b, `,"change":`...), n, 10)
	}
	if len(e.Event.Attributes) > 0 {
		for _, name := range slices.Sorted(maps.Keys(e.Event.Attributes)) {
			if name != "" && strings.Trim(name, lowerAndDigits) == "" && !taken[name] {
				b = appendText(b, name, e.Event.Attributes[name])
			}
		}
	}
	if s.isJSON || json.Valid(e.Payload) && utf8.Valid(e.Payload) {
		b = appendJSON(b, e.Payload)
	} else {
		b = append(b, `,"datacontenttype":"application/octet-stream","data_base64":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, e.Payload), '"')
	}
	return append(b, '}', '\n')
}

const lowerAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789"

// taken are the names that an event uses itself, and those that CloudEvents
// gives a meaning to. It is never written to.
var taken = map[string]bool{
	"specversion": true, "id": true, "source": true, "type": true, "time": true, "subject": true, "data": true,
	"datacontenttype": true, "dataschema": true,
	"shard": true, "seq": true, "sub": true, "arrived": true, "project": true, "ref": true, "change": true,
}

func appendJSON(b, payload []byte) []byte {
	b = append(append(b, `,"data":`...), payload...)
	data := b[len(b)-len(payload):]
	for _, lineBreak := range []byte("\n\r") {
		rest := data
		for i := bytes.IndexByte(rest, lineBreak); i >= 0; i = bytes.IndexByte(rest, lineBreak) {
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
	return b
}

// appendTime appends a time in UTC; a zero one is left out.
func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = appendName(b, name)
	return append(t.UTC().AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

func appendText(b []byte, name, value string) []byte { return appendString(appendName(b, name), value) }

func appendName(b []byte, name string) []byte {
	b = append(append(b, `,"`...), name...)
	return append(b, `":`...)
}

// appendString appends a JSON string. What is not UTF-8 becomes the replacement
// character.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
