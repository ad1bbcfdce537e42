package sink

import (
	"bytes"
	"cmp"
	"encoding/base64"
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

// appendLine appends an entry as one line: a CloudEvents 1.0 event in its JSON
// format.
//
//	specversion, id, source, type   as CloudEvents has them; the id is the same on every delivery, the type Gerrit's own,
//	                                or "record" when there is none
//	time                            when the producer made the event, else when it arrived
//	shard, seq, sub, arrived        its place in the stream; sub only within an aggregate
//	project, ref, change            when the event has them
//	other attributes                of Event.Attributes, as far as CloudEvents allows their names and none of these has it
//	data                            the payload, as received, if it is one JSON value in UTF-8
//	data_base64                     any other payload
//
// data is never parsed and written again. Only line breaks between its tokens,
// which a line cannot hold, become spaces; JSON has none within strings.
func (s *Stdout) appendLine(b []byte, e *gerritstream.Entry) []byte {
	b = append(b, `{"specversion":"1.0","id":"`...)
	b, _ = e.ID.AppendText(b) // it has no error to give
	b = append(b, `","source":`...)
	b = append(b, s.source...)
	b = appendMember(b, "type", cmp.Or(e.Event.Type, "record"))
	b = appendTime(b, "time", cmp.Or(e.Event.Created, e.Arrived))
	b = appendMember(b, "shard", string(e.Shard))
	b = appendMember(b, "seq", string(e.Seq))
	if e.Sub != gerritstream.NoSub {
		b = append(b, `,"sub":`...)
		b = strconv.AppendInt(b, int64(e.Sub), 10)
	}
	b = appendTime(b, "arrived", e.Arrived)
	b = appendSubject(b, &e.Event)
	b = appendAttributes(b, e.Event.Attributes)
	b = appendPayload(b, e.Payload)
	return append(b, '}', '\n')
}

// taken are the names that a line uses itself, and those that CloudEvents gives
// a meaning to. It is never written to.
var taken = map[string]bool{
	"specversion": true, "id": true, "source": true, "type": true, "time": true, "subject": true, "data": true,
	"datacontenttype": true, "dataschema": true,
	"shard": true, "seq": true, "sub": true, "arrived": true, "project": true, "ref": true, "change": true,
}

// appendAttributes appends the attributes whose names CloudEvents allows, by
// name.
func appendAttributes(b []byte, attributes map[string]string) []byte {
	if len(attributes) == 0 {
		return b
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		plain := strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
		if name != "" && plain && !taken[name] {
			b = appendMember(b, name, attributes[name])
		}
	}
	return b
}

// appendSubject appends what the event is about.
func appendSubject(b []byte, e *gerritstream.Event) []byte {
	if e.Project != "" {
		b = appendMember(b, "project", e.Project)
	}
	if e.Ref != "" {
		b = appendMember(b, "ref", e.Ref)
	}
	if e.Change > 0 && e.Change <= math.MaxInt32 { // CloudEvents has no larger integers
		b = append(b, `,"change":`...)
		b = strconv.AppendInt(b, e.Change, 10)
	}
	return b
}

func appendPayload(b, payload []byte) []byte {
	if !json.Valid(payload) || !utf8.Valid(payload) {
		b = append(b, `,"datacontenttype":"application/octet-stream","data_base64":"`...)
		return append(base64.StdEncoding.AppendEncode(b, payload), '"')
	}
	b = append(b, `,"data":`...)
	start := len(b)
	b = append(b, payload...)
	replace(b[start:], '\n', ' ')
	replace(b[start:], '\r', ' ')
	return b
}

func replace(b []byte, from, to byte) {
	for i := bytes.IndexByte(b, from); i >= 0; i = bytes.IndexByte(b, from) {
		b[i] = to
		b = b[i+1:]
	}
}

func appendMember(b []byte, name, value string) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return appendString(b, value)
}

// appendTime appends a time in UTC; a zero one is left out.
func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
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
