package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// linePatience is how long what is written to a patient may take.
const linePatience = time.Second

// patient is standard error, which may block: nobody reads the pipe, or a
// person has pressed Ctrl-S. A program that waits for its log can neither work
// nor be stopped. So what is written while it blocks is dropped, and counted.
type patient struct {
	w io.Writer

	mu   sync.Mutex
	late chan struct{} // under mu: closed once the write that was given up has ended; nil: there is none
	lost int           // under mu: lines
}

func newPatient(w io.Writer) *patient { return &patient{w: w} }

// Write writes within linePatience, or drops what is not written by then.
func (p *patient) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.late != nil {
		select {
		case <-p.late:
			p.late = nil
		default:
			p.lost += bytes.Count(b, []byte("\n"))
			return len(b), nil
		}
	}
	var text []byte
	if p.lost > 0 {
		text = fmt.Appendf(text, "gerritstream: %d lines were not written here, for nothing took them\n", p.lost)
		p.lost = 0
	}
	text = append(text, b...) // a write that is given up goes on
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err = p.w.Write(text)
	}()
	timer := time.NewTimer(linePatience)
	defer timer.Stop()
	select {
	case <-done:
		if err != nil {
			return 0, err
		}
	case <-timer.C:
		p.late = done
	}
	return len(b), nil
}

// Fd lets isTerminal see through it.
func (p *patient) Fd() uintptr {
	if f, ok := p.w.(interface{ Fd() uintptr }); ok {
		return f.Fd()
	}
	return ^uintptr(0)
}
