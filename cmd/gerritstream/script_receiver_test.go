package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// receiver is a webhook's receiver. It appends each request to a file: a line
// with method, path and the headers that matter, and one with the body.
type receiver struct {
	status atomic.Int64 // of its answers

	mu   sync.Mutex
	file *os.File // under mu
}

// cmdReceiver runs a receiver for the length of the script.
func cmdReceiver(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, "receiver NAME PORT STATUS")
	w := worldOf(ts)
	if r := w.receivers[args[0]]; r != nil {
		r.status.Store(int64(number(ts, args[2])))
		return
	}
	file, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", args[1]))
	ts.Check(err)
	r := &receiver{file: file}
	r.status.Store(int64(number(ts, args[2])))
	w.receivers[args[0]] = r
	server := &http.Server{Handler: r} //nolint:gosec // scripts decide how long a request may take
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // it ends with Close
	ts.Defer(func() {
		_ = server.Close()
		serving.Wait()
		_ = file.Close()
	})
}

// ServeHTTP notes a request and answers it.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return // it was cut
	}
	h := request.Header
	r.mu.Lock()
	_, _ = fmt.Fprintf(r.file, "%s %s id=%s type=%s signature=%s\n%s\n", request.Method, request.URL,
		h.Get("Webhook-Id"), h.Get("Content-Type"), h.Get("Webhook-Signature"), body)
	r.mu.Unlock()
	if r.status.Load() == 0 {
		<-request.Context().Done()
		return
	}
	w.WriteHeader(int(r.status.Load()))
	_, _ = fmt.Fprintf(w, "noted: %s\n", h.Get("Gerritstream-Event")) // the client may have gone
}
