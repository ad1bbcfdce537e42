package history

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
)

// Writer appends events to a history. It implements [gerritstream.Observer]:
// what a Consumer does is written as it does it. It may be used by several
// goroutines at once.
type Writer struct {
	process string

	mu  sync.Mutex
	out io.Writer                     // under mu
	new map[gerritstream.ShardID]bool // under mu: the term has read nothing yet
	err error                         // under mu: of the first write that failed; nothing is written behind it
}

var _ consumer.Observer = (*Writer)(nil)

// NewWriter returns a Writer for what a process does. Each event is one call of
// out.Write.
func NewWriter(out io.Writer, process string) *Writer {
	return &Writer{out: out, process: process, new: map[gerritstream.ShardID]bool{}}
}

// Err returns why the history is incomplete; nil: it is not.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Add writes an event, of now unless it says when.
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

// Sum tells one record's bytes from another's.
func Sum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:12])
}

// Elected implements gerritstream.Observer.
func (w *Writer) Elected(shard gerritstream.ShardID, term uint64, from gerritstream.Position, ok bool) {
	e := Event{Kind: KindElected, Shard: shard, Term: term}
	if ok {
		e.Position = &from
	}
	w.mu.Lock()
	w.new[shard] = true
	w.mu.Unlock()
	w.Add(e)
}

// PageRead implements gerritstream.Observer. Of empty pages only the first of a
// term is written.
func (w *Writer) PageRead(shard gerritstream.ShardID, page *gerritstream.Page) {
	w.mu.Lock()
	first := w.new[shard]
	w.new[shard] = false
	w.mu.Unlock()
	if len(page.Records) == 0 && !first {
		return
	}
	items := make([]Item, len(page.Records))
	for i := range page.Records {
		items[i] = Item{Seq: page.Records[i].Seq, Sub: page.Records[i].Sub}
	}
	w.Add(Event{Kind: KindRead, Shard: shard, Items: items})
}

// Judged implements gerritstream.Observer: what counts of a verdict is what is
// committed of it.
func (w *Writer) Judged(gerritstream.ShardID, *gerritstream.Record, *gerritstream.Verdict) {}

// Committed implements gerritstream.Observer.
func (w *Writer) Committed(shard gerritstream.ShardID, term uint64, c *gerritstream.Commit, _ time.Duration) {
	e := Event{Kind: KindCommitted, Shard: shard, Term: term, Position: &c.Position}
	for i := range c.Entries {
		entry := &c.Entries[i]
		e.Items = append(e.Items, Item{Seq: entry.Seq, Sub: entry.Sub, ID: entry.ID.String(), Fate: Queued})
	}
	for i := range c.DeadLetters {
		letter := &c.DeadLetters[i]
		e.Items = append(e.Items, Item{Seq: letter.Seq, Sub: letter.Sub, ID: letter.ID.String(), Fate: DeadLetter})
	}
	w.Add(e)
}

// Lost implements gerritstream.Observer.
func (w *Writer) Lost(shard gerritstream.ShardID, i gerritstream.Interval) {
	w.Add(Event{Kind: KindLost, Shard: shard, Lost: &i})
}

// TermEnded implements gerritstream.Observer.
func (w *Writer) TermEnded(shard gerritstream.ShardID, term uint64, cause error) {
	e := Event{Kind: KindTermEnded, Shard: shard, Term: term}
	if cause != nil {
		e.Note = cause.Error()
	}
	w.Add(e)
}
