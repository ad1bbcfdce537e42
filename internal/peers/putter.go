package peers

import (
	"bytes"
	"context"
	_ "embed" // put.py
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"
)

//go:embed python/put.py
var putScript string

// Event is a record that a Putter puts: its bytes and its partition key, which
// has no tab or newline.
type Event struct {
	Key  string
	Data []byte
}

// Put is where an event went, as the stream answered boto3.
type Put struct {
	Shard          string `json:"shard"`
	SequenceNumber string `json:"sequence_number"`
	SHA256         string `json:"sha256"` // of the bytes that were put, in hexadecimal
	Key            string `json:"key"`
}

// Putter puts events into a stream with boto3.
type Putter struct {
	Endpoint string
	Stream   string
	Create   int           // shards of the stream to create first; 0: it exists
	Reshard  int           // number of events during which one shard is split and two are merged; 0: neither
	Batch    int           // events a request; 0: 100
	Pause    time.Duration // between requests
}

// Put puts all events, in order, and returns where they went, in the order of
// the stream's answers.
func (p Putter) Put(tb testing.TB, events []Event) []Put {
	tb.Helper()
	Require(tb, Boto3)
	var out bytes.Buffer
	if err := p.PutTo(tb.Context(), slices.Values(events), &out); err != nil {
		tb.Fatal(err)
	}
	puts, err := ReadPuts(&out)
	if err != nil {
		tb.Fatal(err)
	}
	return puts
}

// PutTo puts the events as they come, in order, until there are no more, and
// writes each [Put] to out as one line of JSON. The caller has asked Require
// for
// [Boto3].
func (p Putter) PutTo(ctx context.Context, events iter.Seq[Event], out io.Writer) error {
	args := []string{"--endpoint", p.Endpoint, "--stream", p.Stream}
	if p.Create > 0 {
		args = append(args, "--create", strconv.Itoa(p.Create))
	}
	if p.Reshard > 0 {
		args = append(args, "--reshard", strconv.Itoa(p.Reshard))
	}
	if p.Batch > 0 {
		args = append(args, "--batch", strconv.Itoa(p.Batch))
	}
	if p.Pause > 0 {
		args = append(args, "--pause", strconv.FormatFloat(p.Pause.Seconds(), 'f', -1, 64))
	}
	next, stop := iter.Pull(events)
	defer stop()
	cmd := PythonCommand(ctx, putScript, args...)
	cmd.Stdin = &lines{next: next}
	cmd.Stdout = out
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("put events with boto3: %w: %s", err, &stderr)
	}
	return nil
}

// lines is the input of put.py. It takes an event when the one before was read.
type lines struct {
	next func() (Event, bool)
	rest []byte
}

func (l *lines) Read(b []byte) (int, error) {
	if len(l.rest) == 0 {
		e, ok := l.next()
		if !ok {
			return 0, io.EOF
		}
		l.rest = append(append(l.rest, e.Key...), '\t')
		l.rest = append(base64.StdEncoding.AppendEncode(l.rest, e.Data), '\n')
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// ReadPuts reads the output of a Putter.
func ReadPuts(r io.Reader) ([]Put, error) {
	var puts []Put
	for dec := json.NewDecoder(r); ; {
		var put Put
		err := dec.Decode(&put)
		if errors.Is(err, io.EOF) {
			return puts, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read puts: %w", err)
		}
		puts = append(puts, put)
	}
}

// PythonCommand returns a command that runs a program's text with Debian's
// python3, isolated from the user's packages and in the [Environment].
func PythonCommand(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, pythonCommand, append([]string{"-I", "-c", program}, args...)...)
	cmd.Env = Environment()
	return cmd
}
