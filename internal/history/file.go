package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Read reads every history in a folder ("*.ndjson"), in the order of their
// times. A truncated last line, as left by a full disk, is an error: a killed
// process leaves none.
func Read(folder string) ([]Event, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.ndjson"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("read history: there is no *.ndjson in %s", folder)
	}
	var events []Event
	for _, path := range paths {
		more, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("read history %s: %w", path, err)
		}
		events = append(events, more...)
	}
	slices.SortStableFunc(events, func(a, b Event) int { return a.At.Compare(b.At) })
	return events, nil
}

func readFile(path string) (events []Event, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dec := json.NewDecoder(bufio.NewReaderSize(f, 1<<20))
	dec.DisallowUnknownFields()
	for n := 1; ; n++ {
		var e Event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return events, nil
		} else if err != nil {
			return nil, fmt.Errorf("event %d: %w", n, err)
		}
		events = append(events, e)
	}
}

// Writer appends events to a history. As a consumer's Observer it writes what
// the consumer does. Several goroutines may use it at once.
type Writer struct {
	process string

	mu    sync.Mutex
	out   io.Writer                     // under mu
	fresh map[gerritstream.ShardID]bool // under mu: the term has read nothing yet
	err   error                         // under mu: of the first write that failed; nothing is written after it
}

// NewWriter returns a Writer for what a process does. Each event is one call of
// out.Write.
func NewWriter(out io.Writer, process string) *Writer {
	return &Writer{out: out, process: process, fresh: map[gerritstream.ShardID]bool{}}
}

// Err returns why the history is incomplete; nil: it is complete.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Add writes an event; its time is now unless set.
func (w *Writer) Add(e Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if e.Process == "" {
		e.Process = w.process
	}
	line, err := json.Marshal(e)
	if err != nil {
		err = fmt.Errorf("encode event: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if err == nil {
		_, err = w.out.Write(append(line, '\n'))
	}
	w.err = err
}

// Elected notes that a term began.
func (w *Writer) Elected(shard gerritstream.ShardID, number uint64, from gerritstream.Position, ok bool) {
	e := Event{Kind: KindElected, Shard: shard, Term: number}
	if ok {
		e.Position = &from
	}
	w.mu.Lock()
	w.fresh[shard] = true
	w.mu.Unlock()
	w.Add(e)
}

// PageRead notes a page; of empty ones only the first of a term.
func (w *Writer) PageRead(shard gerritstream.ShardID, page *gerritstream.Page) {
	w.mu.Lock()
	first := w.fresh[shard]
	w.fresh[shard] = false
	w.mu.Unlock()
	if len(page.Records) == 0 && !first {
		return
	}
	e := Event{Kind: KindRead, Shard: shard}
	for i := range page.Records {
		e.Items = append(e.Items, Item{Seq: page.Records[i].Seq, Sub: page.Records[i].Sub})
	}
	w.Add(e)
}

// Judged notes nothing: a verdict counts once it is committed.
func (w *Writer) Judged(gerritstream.ShardID, *gerritstream.Record, *gerritstream.Verdict) {}

// Committed notes a commit.
func (w *Writer) Committed(shard gerritstream.ShardID, number uint64, c *gerritstream.Commit, _ time.Duration) {
	e := Event{Kind: KindCommitted, Shard: shard, Term: number, Position: &c.Position}
	for i := range c.Entries {
		entry := &c.Entries[i]
		e.Items = append(e.Items, Item{Seq: entry.Seq, Sub: entry.Sub, ID: entry.ID.String(), Outcome: Queued})
	}
	for i := range c.DeadLetters {
		dead := &c.DeadLetters[i]
		e.Items = append(e.Items, Item{Seq: dead.Seq, Sub: dead.Sub, ID: dead.ID.String(), Outcome: DeadLetter})
	}
	w.Add(e)
}

// Lost notes a reported loss.
func (w *Writer) Lost(shard gerritstream.ShardID, i gerritstream.Interval) {
	w.Add(Event{Kind: KindLost, Shard: shard, Lost: &i})
}

// TermEnded notes that a term ended.
func (w *Writer) TermEnded(shard gerritstream.ShardID, number uint64, cause error) {
	e := Event{Kind: KindTermEnded, Shard: shard, Term: number}
	if cause != nil {
		e.Note = cause.Error()
	}
	w.Add(e)
}
