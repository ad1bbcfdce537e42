package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/gerritstream/gerritstream"
)

// ErrReaderGone is what Deliver returns once nobody reads the output any more.
var ErrReaderGone = errors.New("the reader of the output is gone")

// ErrClosed is what Deliver returns after Close.
var ErrClosed = errors.New("the sink is closed")

// Stdout writes one line an entry (NDJSON), each a CloudEvents 1.0 event in its
// JSON format; see line.go. It is meant for a pipe:
//
//   - Lines of several shards never mix, and a line is never cut: should a
//     write fail within one, the next begins with what was missing.
//   - Deliver returns when the output has taken the bytes. A slow reader
//     therefore slows the reading of the stream down, and nothing else; a
//     reader that never reads does not keep Deliver from ending with its
//     context.
//   - A reader that is gone is final, unlike other errors of an output: Gone
//     tells, and whoever runs the program stops it. Nothing is lost, for what
//     was not delivered is not committed.
//
// The Go runtime ends a program that writes to a broken pipe on its own
// standard output unless SIGPIPE is ignored or handled: use
// signal.Ignore(syscall.SIGPIPE) to stop in an orderly way instead.
type Stdout struct {
	w      io.Writer
	source []byte // as a JSON string
	turn   chan struct{}
	gone   chan struct{} // closed by the holder of the turn
	closed chan struct{} // closed by Close
	once   sync.Once

	// Owned by the holder of the turn.
	buf  []byte // what is being written
	torn int    // how many bytes at the beginning of buf complete a line that was cut
}

// maxWrite is the size from which on a delivery is divided into several writes,
// at the end of a line. It bounds the memory of a Stdout to that and one line.
const maxWrite = 1 << 20

// NewStdout returns a sink that writes to w. The source says where the events
// come from, and is the CloudEvents attribute of that name: the stream's ARN or
// name. An empty one becomes "gerritstream".
func NewStdout(w io.Writer, source string) *Stdout {
	if source == "" {
		source = "gerritstream"
	}
	return &Stdout{
		w:      w,
		source: appendString(nil, source),
		turn:   make(chan struct{}, 1),
		gone:   make(chan struct{}),
		closed: make(chan struct{}),
	}
}

// Name is "stdout".
func (s *Stdout) Name() string { return "stdout" }

// Gone is closed when a write has found that nobody reads the output any more.
func (s *Stdout) Gone() <-chan struct{} { return s.gone }

// Deliver implements gerritstream.Sink: a write a call, or one for each MiB. It
// rejects nothing. When ctx ends first, a write that is under way goes on by
// itself: see Close.
func (s *Stdout) Deliver(ctx context.Context, entries []gerritstream.Entry) error {
	for len(entries) > 0 {
		if err := s.take(ctx); err != nil {
			return err
		}
		n := s.fill(entries)
		if err := s.flush(ctx); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// Close has every further Deliver fail with ErrClosed, and returns when no
// write is under way. Call it before the program ends. It fails when ctx ends
// first: the last line may then be cut. The writer is left open. It may be
// called again.
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

// fill puts as many entries as one write takes behind the rest of a torn line,
// and returns how many.
func (s *Stdout) fill(entries []gerritstream.Entry) int {
	s.buf = s.buf[:s.torn]
	for i := range entries {
		if i > 0 && len(s.buf)+len(entries[i].Payload) > maxWrite {
			return i
		}
		s.buf = s.appendLine(s.buf, &entries[i])
	}
	return len(entries)
}

// flush writes the buffer and gives the turn back. A write cannot be
// interrupted: it has a goroutine of its own, which keeps the turn and the
// buffer until the write ends.
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
	if err == nil {
		s.torn = 0
		if cap(s.buf) > 2*maxWrite {
			s.buf = nil
		}
		return nil
	}
	s.keepTorn(n)
	if isGone(err) {
		close(s.gone)
		return fmt.Errorf("%w: %w", ErrReaderGone, err)
	}
	return fmt.Errorf("write to the output: %w", err)
}

// keepTorn moves what is missing of the line that was cut behind n bytes to the
// beginning of the buffer.
func (s *Stdout) keepTorn(n int) {
	switch {
	case n <= 0: // as torn as before
	case s.buf[n-1] == '\n':
		s.torn = 0
	default:
		end := n + bytes.IndexByte(s.buf[n:], '\n') + 1
		s.torn = copy(s.buf, s.buf[n:end])
	}
}

// isGone reports whether an error of a writer means that nobody will ever read
// what is written.
func isGone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed)
}
