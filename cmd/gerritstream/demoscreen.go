package main

import (
	"context"
	"io"
	"time"
)

// screen writes lines for a person, in a goroutine of its own: an output that
// takes nothing, such as a pager that waits, keeps nobody from stopping. run
// must be running for lines to be written.
type screen struct {
	w     io.Writer
	lines chan string
	stop  chan struct{} // closed by finish
	ended chan struct{} // closed when run returns
	err   error         // of a write; set before ended is closed
}

// screenLines is how many lines may wait for the output.
const screenLines = 64

func newScreen(w io.Writer) *screen {
	return &screen{w: w, lines: make(chan string, screenLines), stop: make(chan struct{}), ended: make(chan struct{})}
}

// run writes until finish is called and all lines are written, or a write
// fails.
func (s *screen) run() {
	defer close(s.ended)
	for {
		select {
		case line := <-s.lines:
			if !s.write(line) {
				return
			}
		case <-s.stop:
			s.rest()
			return
		}
	}
}

// rest writes the lines that wait.
func (s *screen) rest() {
	for {
		select {
		case line := <-s.lines:
			if !s.write(line) {
				return
			}
		default:
			return
		}
	}
}

func (s *screen) write(line string) bool {
	_, s.err = io.WriteString(s.w, line+"\n")
	return s.err == nil
}

// print hands a line over. It waits for room until ctx ends; the line is then
// not written.
func (s *screen) print(ctx context.Context, line string) {
	select {
	case s.lines <- line:
		return
	default:
	}
	select {
	case s.lines <- line:
	case <-s.ended:
	case <-ctx.Done():
	}
}

// finish has the lines that wait written, if the output takes them in time, and
// returns the error of a write. It is called once.
func (s *screen) finish(limit time.Duration) error {
	close(s.stop)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.ended:
		return s.err
	case <-timer.C:
		return nil
	}
}
