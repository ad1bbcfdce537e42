package kinesistest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Request is a call as it arrived.
type Request struct {
	Operation string      // "GetRecords"
	Stream    string      // the name of the stream it is about, as far as it names one
	Shard     string      // the shard it is about, as far as it names one; for GetRecords, the iterator's
	Header    http.Header // not to be changed
	Body      []byte      // JSON; not to be changed
}

// Decode reads the request's JSON into v.
func (r *Request) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return fmt.Errorf("decode %s: %w", r.Operation, err)
	}
	return nil
}

// Reply is what goes back. It may be large: its parts are written one after the
// other.
type Reply struct {
	Status int
	parts  [][]byte
	cut    bool // the connection breaks after keep bytes
	keep   int64
}

// NewReply is a reply with a JSON body.
func NewReply(status int, body []byte) *Reply { return &Reply{Status: status, parts: [][]byte{body}} }

// NewFault is the reply that reports a fault.
func NewFault(f *Fault) *Reply {
	body, _ := json.Marshal(struct { // two strings always can be
		Type    string `json:"__type"`
		Message string `json:"message,omitempty"`
	}{f.Code, f.Message})
	status := f.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	return NewReply(status, body)
}

// Body returns a copy of the reply's JSON.
func (r *Reply) Body() []byte { return bytes.Join(r.parts, nil) }

// Decode reads the reply's JSON into v.
func (r *Reply) Decode(v any) error {
	if err := json.Unmarshal(r.Body(), v); err != nil {
		return fmt.Errorf("decode reply: %w", err)
	}
	return nil
}

// length is that of the whole body, cut or not.
func (r *Reply) length() int64 {
	n := 0
	for _, p := range r.parts {
		n += len(p)
	}
	return int64(n)
}

// reader yields the body, and io.ErrUnexpectedEOF where it is cut.
func (r *Reply) reader() io.Reader {
	parts := bodyReader{parts: r.parts}
	if !r.cut || r.keep >= r.length() {
		return &parts
	}
	return io.MultiReader(io.LimitReader(&parts, r.keep), brokenReader{})
}

// bodyReader reads parts without joining them. It leaves the parts as they are.
type bodyReader struct {
	parts [][]byte
	off   int // within the first part
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && len(b.parts) > 0 {
		k := copy(p[n:], b.parts[0][b.off:])
		n += k
		b.off += k
		if b.off == len(b.parts[0]) {
			b.parts, b.off = b.parts[1:], 0
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
