// Package sink holds the destinations of events besides a store's queue. They
// keep the promises of gerritstream.Sink: at least once, in the order of each
// shard, under IDs that are the same on every delivery.
package sink

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/gerritstream/gerritstream"
)

// What Deliver returns for ever, once the output has no reader or Close was
// called.
var (
	ErrReaderGone = errors.New("the reader of the output is gone")
	ErrClosed     = errors.New("the sink is closed")
)

// Stdout writes each entry as one line (NDJSON): a CloudEvents 1.0 event in
// JSON. It is meant for a pipe:
//
//   - Lines of several shards never mix, and no line is cut: after a write that
//     failed within a line, the next write begins with the missing bytes.
//   - Deliver returns when the output has taken the bytes, so that a slow
//     reader slows down the reading of the stream. With a reader that never
//     reads, Deliver still ends with its context.
//   - A reader that is gone is final, unlike other errors of an output. Gone
//     reports it, so that the program can stop. Nothing is lost, because what
//     was not delivered is not committed.
//
// The Go runtime ends a program that writes to a broken pipe on its standard
// output. Use signal.Ignore(syscall.SIGPIPE) to stop in an orderly way instead.
type Stdout struct {
	w      io.Writer
	source []byte // as a JSON string
	isJSON bool   // payloads are known to be
	turn   chan struct{}
	gone   chan struct{} // closed by the holder of the turn
	closed chan struct{} // closed by Close
	once   sync.Once

	// Owned by the holder of the turn.
	buf  []byte // what is being written
	torn int    // how many bytes at the beginning of buf complete a line that was cut
}

// maxWrite is the size from which a delivery is divided into several writes, at
// line ends. A Stdout needs memory for that and one line.
const maxWrite = 1 << 20

const defaultSource = "gerritstream"

// NewStdout returns a sink that writes to w. source is the CloudEvents
// attribute of that name, the stream's ARN or name; an empty one becomes
// "gerritstream".
func NewStdout(w io.Writer, source string) *Stdout {
	return &Stdout{
		w:      w,
		source: appendString(nil, cmp.Or(source, defaultSource)),
		turn:   make(chan struct{}, 1),
		gone:   make(chan struct{}),
		closed: make(chan struct{}),
	}
}

// NewStdoutOfJSON is NewStdout for entries whose payloads are each known to be
// one JSON value in UTF-8, as all are that gerrit.Scan accepts. They are
// written without being checked again: any other payload would spoil its line.
func NewStdoutOfJSON(w io.Writer, source string) *Stdout {
	s := NewStdout(w, source)
	s.isJSON = true
	return s
}

// Name is "stdout".
func (s *Stdout) Name() string { return "stdout" }

// Gone is closed when a write has found that the output has no reader any more.
func (s *Stdout) Gone() <-chan struct{} { return s.gone }

// Deliver writes once, or once for each MiB. It rejects nothing. When ctx ends
// during a write, the write continues in the background: see Close.
func (s *Stdout) Deliver(ctx context.Context, entries []gerritstream.Entry) error {
	for len(entries) > 0 {
		if err := s.take(ctx); err != nil {
			return err
		}
		s.buf = s.buf[:s.torn]
		n := 0
		for ; n < len(entries) && (n == 0 || len(s.buf)+len(entries[n].Payload) <= maxWrite); n++ {
			s.buf = s.appendEvent(s.buf, &entries[n])
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// Close makes every further Deliver fail with ErrClosed, and returns when no
// write is under way. It fails when ctx ends first: if the program ends then,
// the last line may be cut. The writer stays open. Close may be called again.
func (s *Stdout) Close(ctx context.Context) error {
	s.once.Do(func() { close(s.closed) })
	select {
	case s.turn <- struct{}{}:
		<-s.turn
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the output: %w", context.Cause(ctx))
	}
}

// take waits for the turn to write.
func (s *Stdout) take(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("write to the output: %w", context.Cause(ctx))
	}
	select {
	case s.turn <- struct{}{}:
	case <-s.closed:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("write to the output: %w", context.Cause(ctx))
	}
	select {
	case <-s.gone:
		<-s.turn
		return ErrReaderGone
	case <-s.closed: // both came at once
		<-s.turn
		return ErrClosed
	default:
		return nil
	}
}

// flush writes the buffer and gives the turn back. A write cannot be
// interrupted: its own goroutine keeps the turn and the buffer until it ends.
func (s *Stdout) flush(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		err := s.write()
		<-s.turn
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // both came at once: what was written counts
		return err
	default:
		return fmt.Errorf("write to the output: %w", context.Cause(ctx))
	}
}

// write writes the buffer, and keeps what is missing of a line that was cut.
func (s *Stdout) write() error {
	n, err := s.w.Write(s.buf)
	if err == nil && n < len(s.buf) {
		err = io.ErrShortWrite
	}
	switch {
	case err == nil:
		s.torn = 0
		if cap(s.buf) > 2*maxWrite {
			s.buf = nil
		}
		return nil
	case n <= 0: // torn as before
	case s.buf[n-1] == '\n':
		s.torn = 0
	default:
		end := n + bytes.IndexByte(s.buf[n:], '\n') + 1
		s.torn = copy(s.buf, s.buf[n:end])
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed) {
		close(s.gone)
		return fmt.Errorf("%w: %w", ErrReaderGone, err)
	}
	return fmt.Errorf("write to the output: %w", err)
}
