package kinesistest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
)

// transport is the way to a server without a network.
type transport struct{ server *Server }

// RoundTrip answers a request in the calling goroutine.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := readBody(r)
	if err != nil && !isTooLarge(err) {
		return nil, err
	}
	reply, err := t.server.answer(r.Context(), r, body, err)
	switch {
	case errors.Is(err, ErrTruncated):
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
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
		Body:          io.NopCloser(reply.reader()),
		ContentLength: reply.length(),
		Request:       r,
	}, nil
}

// readBody reads and closes the request's body, as a RoundTripper must.
func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	body, err := readAll(http.MaxBytesReader(nil, r.Body, maxRequestBody), r.ContentLength)
	return body, errors.Join(err, r.Body.Close())
}
