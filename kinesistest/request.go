package kinesistest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
)

// Request is a call that a client made.
type Request struct {
	Operation string      // "GetRecords"
	Stream    string      // the stream's name, or "" if the call names none
	Shard     string      // likewise; for GetRecords, the iterator's
	Header    http.Header // read-only
	Body      []byte      // JSON, whatever the client speaks; read-only

	cbor bool // the client sent CBOR, and gets it
}

// Decode reads the request's JSON into v.
func (r *Request) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return fmt.Errorf("decode %s: %w", r.Operation, err)
	}
	return nil
}

// Reply is the answer to a Request. It may be large: its parts are written one
// after the other.
type Reply struct {
	Status int
	parts  [][]byte
	page   *pageOutput   // of GetRecords, before it is written: takes the place of parts
	cbor   bool          // parts are CBOR, otherwise JSON
	events *subscription // of SubscribeToShard; nil: a body of parts
	cut    bool          // the connection breaks after keep bytes
	keep   int64
}

// NewReply returns a reply with a JSON body. A client that speaks CBOR gets it
// in CBOR if it is JSON, and otherwise as it is.
func NewReply(status int, body []byte) *Reply { return &Reply{Status: status, parts: [][]byte{body}} }

// NewFault returns the reply that reports a fault.
func NewFault(f *Fault) *Reply {
	body, _ := json.Marshal(struct { // strings can always be marshalled
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
func (r *Reply) Body() []byte { return bytes.Join(r.inJSON().parts, nil) }

// inJSON returns the reply as a request in JSON gets it.
func (r *Reply) inJSON() *Reply {
	if r.page == nil {
		return r
	}
	out := *r
	out.parts, out.page = r.page.renderJSON(), nil
	return &out
}

// Decode reads the reply's JSON into v.
func (r *Reply) Decode(v any) error {
	if err := json.Unmarshal(r.Body(), v); err != nil {
		return fmt.Errorf("decode reply: %w", err)
	}
	return nil
}

// length returns the length of the whole body, cut or not; -1: not known.
func (r *Reply) length() int64 {
	if r.events != nil {
		return -1
	}
	n := 0
	for _, p := range r.parts {
		n += len(p)
	}
	return int64(n)
}

// reader reads the body, and returns io.ErrUnexpectedEOF where it is cut.
func (r *Reply) reader() io.Reader {
	parts := net.Buffers(slices.Clone(r.parts)) // which it consumes
	var body io.Reader = &parts
	if r.events != nil {
		body = r.events
	}
	if !r.cut || r.events == nil && r.keep >= r.length() {
		return body
	}
	return io.MultiReader(io.LimitReader(body, r.keep), brokenReader{})
}

// body returns the reader with what is to be closed.
func (r *Reply) body() io.ReadCloser {
	if r.events == nil {
		return io.NopCloser(r.reader())
	}
	return struct {
		io.Reader
		io.Closer
	}{r.reader(), r.events}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Fault is an error as the service reports it.
type Fault struct {
	Code    string // "ResourceNotFoundException"
	Message string
	Status  int // of HTTP; 0 means 400
}

// Error returns the code and the message.
func (f *Fault) Error() string { return f.Code + ": " + f.Message }

func fault(code, format string, args ...any) *Fault {
	return &Fault{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

func invalid(format string, args ...any) *Fault {
	return fault("InvalidArgumentException", format, args...)
}

func (s *Server) streamNotFound(name, account string) *Fault {
	return fault("ResourceNotFoundException", "Stream %s under account %s not found.", name, account)
}

func (s *Server) shardNotFound(id string, st *stream) *Fault {
	return fault("ResourceNotFoundException", "Could not find shard %s in stream %s under account %s.",
		id, st.name, s.opts.Account)
}

func (s *Server) noSuchShard(id string, st *stream) *Fault {
	return fault("ResourceNotFoundException", "Shard %s in stream %s under account %s does not exist",
		id, st.name, s.opts.Account)
}

func (s *Server) streamExists(name string) *Fault {
	return fault("ResourceInUseException", "Stream %s under account %s already exists.", name, s.opts.Account)
}

func (s *Server) notActive(st *stream) *Fault {
	return fault("ResourceInUseException", "Stream %s under account %s not ACTIVE, instead in state %s",
		st.name, s.opts.Account, st.status())
}

func (s *Server) rateExceeded(sh *shard) *Fault {
	return fault("ProvisionedThroughputExceededException", "Rate exceeded for shard %s in stream %s under account %s.",
		sh.id, sh.stream.name, s.opts.Account)
}
