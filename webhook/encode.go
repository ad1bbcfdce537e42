package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sink"
)

// Headers of gerritstream's own, in every format.
const (
	headerEvent       = "Gerritstream-Event"       // the event's type
	headerRedelivered = "Gerritstream-Redelivered" // "true": it was sent before
	headerReplayed    = "Gerritstream-Replayed"    // "true": somebody had it sent again
)

// headerTraceparent is that of the W3C's Trace Context: the receiver's spans
// belong to the trace of the commit that queued the event.
const headerTraceparent = "Traceparent"

// contentType of a payload: Gerrit's are JSON, but a stream may carry others.
func contentType(payload []byte) string {
	if json.Valid(payload) && utf8.Valid(payload) {
		return "application/json"
	}
	return "application/octet-stream"
}

// encode returns the body of a request, and sets the headers that depend on the
// format. The source is the CloudEvents attribute.
func encode(f Format, source string, e *queue.Event, h http.Header) []byte {
	switch f {
	case CloudEvents:
		h.Set("Content-Type", "application/cloudevents+json; charset=UTF-8")
		return sink.AppendCloudEvent(nil, source, &e.Entry)
	case CloudEventsBinary:
		bare := e.Entry
		bare.Payload = []byte("null")
		setAttributes(h, sink.AppendCloudEvent(nil, source, &bare))
	}
	h.Set("Content-Type", contentType(e.Entry.Payload))
	return e.Entry.Payload
}

// setAttributes sets a header for each attribute of a CloudEvent without data,
// as the HTTP binding's binary mode has them.
func setAttributes(h http.Header, event []byte) {
	var attributes map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(event)))
	decoder.UseNumber()
	if err := decoder.Decode(&attributes); err != nil {
		return // it is JSON: this package asked for it
	}
	delete(attributes, "data")
	for name, value := range attributes {
		h.Set("Ce-"+name, headerValue(fmt.Sprint(value)))
	}
}

// headerValue encodes a string as the HTTP binding of CloudEvents does: what is
// not printable ASCII, and the space, quote and percent sign, in percent form.
func headerValue(s string) string {
	plain := func(b byte) bool { return b > ' ' && b < 0x7f && b != '"' && b != '%' }
	var out strings.Builder
	for i := range len(s) {
		if b := s[i]; plain(b) {
			out.WriteByte(b)
		} else {
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}
