package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// writeTimeout is how long a write to standard error may take.
const writeTimeout = time.Second

// lossyWriter is standard error, which may block: nobody reads the pipe, or a
// person pressed Ctrl-S. A program that waits for its log can neither work nor
// be stopped, so what is written while it blocks is dropped and counted.
type lossyWriter struct {
	w io.Writer

	mu      sync.Mutex
	pending chan struct{} // under mu: closed once the write that was given up has ended; nil: there is none
	lost    int           // under mu: lines
}

func newLossyWriter(w io.Writer) *lossyWriter { return &lossyWriter{w: w} }

// Write writes within writeTimeout, or drops what is not written by then.
func (p *lossyWriter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending != nil {
		select {
		case <-p.pending:
			p.pending = nil
		default:
			p.lost += bytes.Count(b, []byte("\n"))
			return len(b), nil
		}
	}
	var text []byte
	if p.lost > 0 {
		text = fmt.Appendf(text, "gerritstream: %d log lines were dropped because nothing read them\n", p.lost)
		p.lost = 0
	}
	text = append(text, b...) // a write that is given up goes on
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err = p.w.Write(text)
	}()
	timer := time.NewTimer(writeTimeout)
	defer timer.Stop()
	select {
	case <-done:
		if err != nil {
			return 0, err
		}
	case <-timer.C:
		p.pending = done
	}
	return len(b), nil
}

// Fd lets isTerminal see the file.
func (p *lossyWriter) Fd() uintptr {
	if f, ok := p.w.(interface{ Fd() uintptr }); ok {
		return f.Fd()
	}
	return ^uintptr(0)
}
