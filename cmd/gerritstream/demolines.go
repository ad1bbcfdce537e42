package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrittest"
)

// verdictLines is an Observer that shows a line for each record, once its
// verdict is final: when what is queued or put aside has been committed, and
// with it what is ahead of it in its shard.
type verdictLines struct {
	consumer.NopObserver
	show   func(line string)
	colour bool

	mu      sync.Mutex
	waiting map[gerritstream.ShardID][]verdictLine               // under mu: judged and not shown, in order
	shown   map[gerritstream.ShardID]gerritstream.SequenceNumber // under mu: the last one that was
	count   total                                                // under mu: of lines shown
}

// verdictLine is one record's line.
type verdictLine struct {
	place
	verdict gerrittest.Want
	text    string
}

func newVerdictLines(colour bool, show func(string)) *verdictLines {
	return &verdictLines{
		show: show, colour: colour,
		waiting: map[gerritstream.ShardID][]verdictLine{},
		shown:   map[gerritstream.ShardID]gerritstream.SequenceNumber{},
	}
}

// Elected implements gerritstream.Observer: a term judges again what the one
// before did not commit.
func (l *verdictLines) Elected(shard gerritstream.ShardID, _ uint64, _ gerritstream.Position, _ bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, shard)
}

// Judged implements gerritstream.Observer.
func (l *verdictLines) Judged(shard gerritstream.ShardID, r *gerritstream.Record, v *gerritstream.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Seq.Compare(l.shown[shard]) <= 0 { // of an earlier term, which had no time to commit that it was filtered
		return
	}
	line := verdictLine{place: place{shard, r.Seq, r.Sub}}
	line.verdict, line.text = l.describe(shard, v)
	l.waiting[shard] = append(l.waiting[shard], line)
	l.release(shard, &gerritstream.Position{})
}

// Committed implements gerritstream.Observer.
func (l *verdictLines) Committed(shard gerritstream.ShardID, _ uint64, c *gerritstream.Commit, _ time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.release(shard, &c.Position)
}

// release shows the lines that wait for nothing: in front, those that are
// committed and those of what was filtered. mu is held.
func (l *verdictLines) release(shard gerritstream.ShardID, committed *gerritstream.Position) {
	lines := l.waiting[shard]
	for len(lines) > 0 && (lines[0].verdict == gerrittest.Filtered || committed.Covers(lines[0].seq, lines[0].sub)) {
		l.note(&lines[0])
		lines = lines[1:]
	}
	l.waiting[shard] = lines
}

// totalEvery is the number of events after which the total is shown.
const totalEvery = 25

// note shows a line and counts it. mu is held.
func (l *verdictLines) note(line *verdictLine) {
	switch line.verdict {
	case gerrittest.Queued:
		l.count.queued++
	case gerrittest.Filtered:
		l.count.filtered++
	case gerrittest.DeadLetter:
		l.count.dead++
	}
	l.shown[line.shard] = line.seq
	l.show(line.text)
	if l.count.events()%totalEvery == 0 {
		l.show(paint(l.colour, bold, fmt.Sprintf("-- %s so far: %s", plural(l.count.events(), "event"), l.count)))
	}
}

// total is what was shown so far.
func (l *verdictLines) total() total {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// describe writes a record's line.
func (l *verdictLines) describe(shard gerritstream.ShardID, v *gerritstream.Verdict) (gerrittest.Want, string) {
	e := &v.Event
	switch {
	case v.Bad != "":
		line := fmt.Sprintf("%-20s shard %-3s %s", "dead letter", brief(shard), v.Bad+": "+v.Detail)
		return gerrittest.DeadLetter, paint(l.colour, red, line)
	case v.Filter != "":
		return gerrittest.Filtered, paint(l.colour, dim, eventLine("filtered: "+v.Filter, shard, e))
	}
	line := eventLine("queued", shard, e)
	return gerrittest.Queued, paint(l.colour, green, line[:len("queued")]) + line[len("queued"):]
}

func eventLine(verdict string, shard gerritstream.ShardID, e *gerritstream.Event) string {
	line := fmt.Sprintf("%-20s shard %-3s %-17s %-21s %s", verdict, brief(shard), e.Type, dash(e.Project), about(e))
	return strings.TrimRight(line, " ")
}

// about says which change an event is about, or else which ref.
func about(e *gerritstream.Event) string {
	if e.Change != 0 {
		return "change " + strconv.FormatInt(e.Change, 10)
	}
	parts := strings.Split(e.Ref, "/") // refs/changes/11/4711/meta
	if len(parts) != 5 || parts[1] != "changes" {
		return e.Ref
	}
	if parts[4] == "meta" {
		return "change " + parts[3] + ", its notes"
	}
	return "change " + parts[3] + ", patch set " + parts[4]
}

// The ways to paint (ECMA-48, "select graphic rendition").
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

// paint paints a text, if there is to be any colour.
func paint(colour bool, how, text string) string {
	if !colour {
		return text
	}
	return "\x1b[" + how + "m" + text + "\x1b[0m"
}
