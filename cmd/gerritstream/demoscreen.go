package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrittest"
)

// verdictLines is an Observer that shows a line for each record once its
// verdict is final: once it is committed, if it is queued or dead-lettered, and
// so is everything before it in its shard.
type verdictLines struct {
	consumer.NopObserver
	show   func(line string)
	colour bool

	mu      sync.Mutex
	waiting map[gerritstream.ShardID][]verdictLine               // under mu: judged and not shown, in order
	shown   map[gerritstream.ShardID]gerritstream.SequenceNumber // under mu: the last one shown
	count   total                                                // under mu: of lines shown
}

// verdictLine is the line of a record.
type verdictLine struct {
	shard   gerritstream.ShardID
	seq     gerritstream.SequenceNumber
	sub     int
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

// Elected forgets what an earlier term judged and did not commit: this one
// judges those records again.
func (l *verdictLines) Elected(shard gerritstream.ShardID, _ uint64, _ gerritstream.Position, _ bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, shard)
}

// Judged implements consumer.Observer.
func (l *verdictLines) Judged(shard gerritstream.ShardID, r *gerritstream.Record, v *gerritstream.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Seq.Compare(l.shown[shard]) <= 0 { // filtered by an earlier term, which had no time to commit that
		return
	}
	line := verdictLine{shard: shard, seq: r.Seq, sub: r.Sub}
	line.verdict, line.text = l.describe(shard, v)
	l.waiting[shard] = append(l.waiting[shard], line)
	l.releaseLocked(shard, &gerritstream.Position{})
}

// Committed implements consumer.Observer.
func (l *verdictLines) Committed(shard gerritstream.ShardID, _ uint64, c *gerritstream.Commit, _ time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.releaseLocked(shard, &c.Position)
}

// totalEvery is the number of events after which the total is shown.
const totalEvery = 25

// releaseLocked shows the first lines that wait for nothing: those that are
// committed and those of what was filtered.
func (l *verdictLines) releaseLocked(shard gerritstream.ShardID, committed *gerritstream.Position) {
	lines := l.waiting[shard]
	for len(lines) > 0 && (lines[0].verdict == gerrittest.Filtered || committed.Covers(lines[0].seq, lines[0].sub)) {
		line := &lines[0]
		switch line.verdict {
		case gerrittest.Queued:
			l.count.queued++
		case gerrittest.Filtered:
			l.count.filtered++
		case gerrittest.DeadLetter:
			l.count.dead++
		}
		l.shown[shard] = line.seq
		l.show(line.text)
		if l.count.events()%totalEvery == 0 {
			l.show(paint(l.colour, bold, fmt.Sprintf("-- %s so far: %s", plural(l.count.events(), "event"), l.count)))
		}
		lines = lines[1:]
	}
	l.waiting[shard] = lines
}

// total returns what was shown so far.
func (l *verdictLines) total() total {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// describe returns a record's verdict and line.
func (l *verdictLines) describe(shard gerritstream.ShardID, v *gerritstream.Verdict) (gerrittest.Want, string) {
	e := &v.Event
	line := func(verdict string) string {
		line := fmt.Sprintf("%s  shard %-3s %s  %s  %s", column(verdict, 18), brief(shard), column(e.Type, 19),
			column(dash(e.Project), 21), about(e))
		return strings.TrimRight(line, " ")
	}
	switch {
	case v.Bad != "":
		text := fmt.Sprintf("%s  shard %-3s %s: %s", column("dead letter", 18), brief(shard), v.Bad, v.Detail)
		return gerrittest.DeadLetter, paint(l.colour, red, text)
	case v.Filter != "":
		return gerrittest.Filtered, paint(l.colour, dim, line("filtered: "+v.Filter))
	}
	text := line("queued")
	return gerrittest.Queued, paint(l.colour, green, text[:len("queued")]) + text[len("queued"):]
}

// column writes a text in a column of a width: padded, or cut.
func column(text string, width int) string {
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return fmt.Sprintf("%-*s", width, text)
}

// about names the change that an event is about, or else the ref.
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

// How to paint (ECMA-48, "select graphic rendition").
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// hasColour reports whether standard output shows colours, and they are wanted
// (see no-color.org).
func (p process) hasColour() bool {
	return isTerminal(p.stdout) && p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb"
}

// paint paints a text, if colours are wanted.
func paint(colour bool, how, text string) string {
	if !colour {
		return text
	}
	return "\x1b[" + how + "m" + text + "\x1b[0m"
}

// total counts verdicts.
type total struct{ queued, filtered, dead int }

func (t total) events() int { return t.queued + t.filtered + t.dead }

func (t total) String() string {
	return fmt.Sprintf("%s queued, %s filtered, %s", thousands(t.queued), thousands(t.filtered),
		plural(t.dead, "dead letter"))
}

// thousands writes a number as people read it: 20,000.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// screen writes lines in a goroutine of its own, so that an output that blocks,
// such as a pager, keeps nobody from stopping. Lines are written while run
// runs.
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

// run writes until a write fails, or finish is called and every line is
// written.
func (s *screen) run() {
	defer close(s.ended)
	for s.err == nil {
		select {
		case line := <-s.lines:
			_, s.err = io.WriteString(s.w, line+"\n")
		case <-s.stop:
			for len(s.lines) > 0 && s.err == nil {
				_, s.err = io.WriteString(s.w, <-s.lines+"\n")
			}
			return
		}
	}
}

// show hands a line over. It waits for room until ctx ends and then drops the
// line.
func (s *screen) show(ctx context.Context, line string) {
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

// finish waits for the remaining lines, up to a limit, and returns the error of
// a write. It is called once.
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
