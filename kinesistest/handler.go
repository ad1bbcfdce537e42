package kinesistest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
)

const (
	contentType    = "application/x-amz-json-1.1"
	targetPrefix   = "Kinesis_20131202."
	maxRequestBody = 32 << 20
)

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readAll(http.MaxBytesReader(w, r.Body, maxRequestBody), r.ContentLength)
	if err != nil && !isTooLarge(err) {
		panic(http.ErrAbortHandler) // the client has gone
	}
	reply, err := s.answer(r.Context(), r, body, err)
	if err != nil {
		panic(http.ErrAbortHandler) // net/http then breaks the connection
	}
	s.setHeader(w.Header(), reply)
	w.WriteHeader(reply.Status)
	if reply.events != nil {
		defer func() { _ = reply.events.Close() }()
		w = flushed{w, http.NewResponseController(w)}
	}
	if _, err := io.Copy(w, reply.reader()); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// flushed sends at once what is written.
type flushed struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write writes and flushes.
func (f flushed) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = f.control.Flush()
	}
	return n, err
}

// answer takes a request through the hooks to its operation. tooLarge is the
// error of a body that was too large.
func (s *Server) answer(ctx context.Context, r *http.Request, body []byte, tooLarge error) (*Reply, error) {
	if speaksCBOR(r) {
		return s.answerCBOR(ctx, r, body, tooLarge)
	}
	reply, err := s.answerJSON(ctx, r, body, tooLarge, false)
	if err != nil {
		return nil, err
	}
	return reply.inJSON(), nil
}

// answerCBOR turns a request from CBOR and its reply into CBOR.
func (s *Server) answerCBOR(ctx context.Context, r *http.Request, body []byte, tooLarge error) (*Reply, error) {
	in, err := jsonOfCBOR(body)
	if err != nil && tooLarge == nil {
		return NewFault(fault("SerializationException", "%s", err)).inCBOR(), nil
	}
	reply, err := s.answerJSON(ctx, r, in, tooLarge, true)
	if err != nil {
		return nil, err
	}
	return reply.inCBOR(), nil
}

func (s *Server) answerJSON(
	ctx context.Context, r *http.Request, body []byte, tooLarge error, cbor bool,
) (*Reply, error) {
	if f := refuse(r); f != nil {
		return NewFault(f), nil
	}
	if tooLarge != nil {
		return NewFault(&Fault{Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge,
			Message: fmt.Sprintf("the body is larger than %d bytes", maxRequestBody)}), nil
	}
	req := &Request{
		Operation: strings.TrimPrefix(r.Header.Get("X-Amz-Target"), targetPrefix),
		Header:    r.Header,
		Body:      body,
		cbor:      cbor,
	}
	hooks := s.hooks.of(req.Operation)
	if len(hooks) == 0 {
		return s.perform(ctx, req)
	}
	s.identify(req)
	return s.hooks.wrap(hooks, req, s.perform)(ctx, req)
}

// perform applies the operation. It is the last handler after all hooks.
func (s *Server) perform(ctx context.Context, r *Request) (*Reply, error) {
	do := s.operations[r.Operation]
	if do == nil {
		return NewFault(&Fault{Code: "UnknownOperationException", Status: http.StatusBadRequest}), nil
	}
	reply, f := do(s, r)
	if f != nil {
		return NewFault(f), nil
	}
	if reply.events != nil {
		reply.events.ctx = ctx
	}
	return reply, nil
}

func mediaType(r *http.Request) string {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind
}

func speaksCBOR(r *http.Request) bool { return mediaType(r) == cborType }

// refuse returns what is wrong with a request's header.
func refuse(r *http.Request) *Fault {
	kind := mediaType(r)
	switch {
	case r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("X-Amz-Target"), targetPrefix) ||
		kind != contentType && kind != cborType && kind != "application/json":
		return &Fault{Code: "UnknownOperationException", Status: http.StatusNotFound}
	case r.Header.Get("Authorization") == "" && !r.URL.Query().Has("X-Amz-Signature"):
		return fault("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	return nil
}

// identify fills in which stream and shard a request is about, for hooks.
func (s *Server) identify(r *Request) {
	var in struct {
		streamRef
		ShardId, ShardToSplit, ShardToMerge, ShardIterator string //nolint:revive,staticcheck // as in the request
	}
	if json.Unmarshal(r.Body, &in) != nil {
		return // the operation reports the fault
	}
	r.Stream, r.Shard = in.name(), in.ShardId+in.ShardToSplit+in.ShardToMerge
	var it iterator
	if in.ShardIterator != "" && s.open(in.ShardIterator, &it) {
		r.Stream, r.Shard = it.Stream, shardID(it.Shard)
	}
}

// setHeader writes the header that every reply has, with the service's time.
func (s *Server) setHeader(h http.Header, reply *Reply) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	if reply.events != nil {
		h.Set("Content-Type", eventStreamType)
	} else {
		h.Set("Content-Type", map[bool]string{false: contentType, true: cborType}[reply.cbor])
		h.Set("Content-Length", strconv.FormatInt(reply.length(), 10))
	}
	h.Set("Date", s.Now().Format(http.TimeFormat))
	h.Set("x-amzn-RequestId", hex.EncodeToString(id[:]))
}

func isTooLarge(err error) bool {
	var tooLarge *http.MaxBytesError
	return errors.As(err, &tooLarge)
}

// readAll reads a body of known length, or -1. Large ones are common, and must
// not grow by copying.
func readAll(r io.Reader, length int64) ([]byte, error) {
	var buf bytes.Buffer
	if length > 0 && length <= maxRequestBody {
		buf.Grow(int(length) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(r)
	return buf.Bytes(), err
}

// transport reaches a server without a network.
type transport struct{ server *Server }

// RoundTrip answers a request in the calling goroutine.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	var err error
	if r.Body != nil {
		body, err = readAll(http.MaxBytesReader(nil, r.Body, maxRequestBody), r.ContentLength)
		err = errors.Join(err, r.Body.Close()) // a RoundTripper must close it
	}
	if err != nil && !isTooLarge(err) {
		return nil, err
	}
	reply, err := t.server.answer(r.Context(), r, body, err)
	switch {
	case errors.Is(err, ErrTruncated):
		return nil, connectionReset()
	case err != nil:
		return nil, err
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	}
	header := http.Header{}
	t.server.setHeader(header, reply)
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", reply.Status, http.StatusText(reply.Status)),
		StatusCode: reply.Status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        header,
		Body:          reply.body(),
		ContentLength: reply.length(),
		Request:       r,
	}, nil
}

// connectionReset is what a client sees of a connection that breaks.
func connectionReset() error { return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET} }
