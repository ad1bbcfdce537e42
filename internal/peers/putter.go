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

// Event is what a Putter puts: the bytes of one record and the key that chooses
// its shard. The key has no tab or newline.
type Event struct {
	Key  string
	Data []byte
}

// Put is where an event went, by the stream's own answer to boto3.
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
	Create   int           // shards of the stream, which is then created first; 0: it is there
	Reshard  int           // split one shard and merge two others while putting so many events; 0: do not
	Batch    int           // events a request; 0: 100
	Pause    time.Duration // between requests
}

// Put puts all the events, in order, and returns where each went, in the order
// of the stream's answers.
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
// writes to out, as it goes on, one JSON object a line: a [Put] each. The
// caller has asked Require for [Boto3].
func (p Putter) PutTo(ctx context.Context, events iter.Seq[Event], out io.Writer) error {
	lines := newLines(events)
	defer lines.stop()
	cmd := PythonCommand(ctx, putScript, p.args()...)
	cmd.Stdin = lines
	cmd.Stdout = out
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("put events with boto3: %w: %s", err, &stderr)
	}
	return nil
}

func (p Putter) args() []string {
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
	return args
}

// lines is a Reader of what put.py reads. It takes an event when it has nothing
// left of the one before.
type lines struct {
	next func() (Event, bool)
	stop func()
	rest []byte
}

func newLines(events iter.Seq[Event]) *lines {
	l := &lines{}
	l.next, l.stop = iter.Pull(events)
	return l
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

// ReadPuts reads what a Putter wrote.
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
// python3, cut off from everything a user may have installed. Its environment
// is [Environment].
func PythonCommand(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, pythonCommand, append([]string{"-I", "-c", program}, args...)...)
	cmd.Env = Environment()
	return cmd
}
