package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
)

// statusTable writes a status for people: what matters first, within 80 columns
// unless it is wide.
type statusTable struct {
	view   *statusView
	wide   bool // with whole ids, names and positions, and each cause in one line
	colour bool
	quiet  bool // without what is wrong
}

// statusColumns is the width that the table keeps to unless it is wide.
const statusColumns = 80

// indent is what parts of more than one line begin with, but in the first.
const indent = "             "

// now is the time at which the store was looked at.
func (t *statusTable) now() time.Time { return t.view.view.From.Now }

// write writes all of it.
func (t *statusTable) write(w io.Writer) error {
	v := t.view
	var b strings.Builder
	for _, line := range t.wrap(v.State, "") {
		fmt.Fprintf(&b, "%s\n", paint(t.colour, mood(v.view.Level), line))
	}
	if !t.quiet {
		t.writeCauses(&b)
	}
	fmt.Fprintf(&b, "\nconnection   %s\nstore        %s\n", v.Connection, v.Store)
	if o := v.Origin; o != nil {
		fmt.Fprintf(&b, "stream       %s\norigin       %s\n", o.Stream.ARN, t.originText(o))
	}
	fmt.Fprintf(&b, "processes    %s\n", t.processes())
	fmt.Fprintf(&b, "queue        %s%s\n", t.queueText(), countIn(v.Expired, " (%d more expired)"))
	fmt.Fprintf(&b, "dead letters %s%s\n", thousands(int(v.DeadLetters)),
		countIn(v.Discarded, " (%d more were only counted)"))
	var readers []string
	for i := range v.Consumers {
		readers = append(readers, "consumer     "+consumerText(&v.Consumers[i], t.now()))
	}
	for i := range v.Webhooks {
		readers = append(readers, "webhook      "+printable(v.Webhooks[i].Name+": "+v.Webhooks[i].Text(t.now())))
	}
	for _, reader := range readers {
		b.WriteString(strings.Join(t.wrap(reader, indent), "\n") + "\n")
	}
	if len(v.Shards) > 0 {
		b.WriteString("\n")
		t.writeShards(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mood is the colour of a level.
func mood(l overview.Level) string {
	return [...]string{overview.Fine: green, overview.Warning: yellow, overview.Trouble: red}[l]
}

// writeCauses writes what is wrong: a cause begins a line.
func (t *statusTable) writeCauses(w io.Writer) {
	for i := range t.view.view.Causes {
		c := &t.view.view.Causes[i]
		level := c.Level.String() + ":"
		lines := t.wrap(level+" "+printable(commas(c.Line())), "  ")
		lines[0] = paint(t.colour, mood(c.Level), level) + strings.TrimPrefix(lines[0], level)
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
	}
}

// wrap breaks a text at its blanks, where the table is as wide as it may be.
// Lines but the first begin with hang. A word that is wider is left whole: it
// may be an address.
func (t *statusTable) wrap(text, hang string) (lines []string) {
	words := strings.Split(text, " ")
	line := words[0]
	for _, word := range words[1:] {
		if !t.wide && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > statusColumns {
			lines, line = append(lines, line), hang+word
			continue
		}
		line += " " + word
	}
	return append(lines, line)
}

// processes names the processes, on several lines if need be.
func (t *statusTable) processes() string {
	var b strings.Builder
	column := len(indent)
	for i, p := range t.view.Processes {
		name := printable(p.Process)
		switch {
		case i == 0:
		case column+len(", ")+len(name) >= statusColumns && !t.wide:
			b.WriteString(",\n" + indent)
			column = len(indent)
		default:
			b.WriteString(", ")
			column += len(", ")
		}
		b.WriteString(name)
		column += len(name)
	}
	return dash(b.String())
}

// queueText is the length of the queue, against its limit if it has one.
func (t *statusTable) queueText() string {
	v := t.view
	switch {
	case v.QueueLimit == 0:
		return plural(int(v.Queue), "event")
	case v.Queue >= v.QueueLimit:
		return fmt.Sprintf("%s of %s events: full", thousands(int(v.Queue)), thousands(int(v.QueueLimit)))
	}
	return fmt.Sprintf("%s of %s events", thousands(int(v.Queue)), thousands(int(v.QueueLimit)))
}

// writeShards writes a line for each shard, the worst first. Columns for which
// there is no room are left out.
func (t *statusTable) writeShards(w io.Writer) {
	const ( // of columns
		shard = iota
		state
		leader
		lag
		rate
		event
		commit
		position
	)
	rates := map[gerritstream.ShardID]*float64{}
	for i := range t.view.Shards {
		rates[t.view.Shards[i].Shard] = t.view.Shards[i].Rate
	}
	rows := [][]string{{"SHARD", "STATE", "LEADER", "LAG", "RATE", "EVENT", "COMMIT", "POSITION"}}
	for i := range t.view.view.Shards {
		s := &t.view.view.Shards[i]
		stored := &s.Facts.Stored
		row := []string{
			shard: t.shard(s), state: t.state(s), leader: t.leader(s), lag: "-", rate: "-",
			event: t.ago(s.Last.Event), commit: t.ago(stored.Committed), position: t.position(stored.Position),
		}
		if s.Pace.Lag > 0 || s.Facts.Leads && !s.IsEnded() {
			row[lag] = overview.Span(s.Pace.Lag)
		}
		if r := rates[s.ID]; r != nil {
			row[rate] = perSecond(*r)
		}
		rows = append(rows, row)
	}
	if t.wide {
		writeColumns(w, rows)
		return
	}
	for _, column := range []int{commit, position, event, rate} {
		if column == commit || width(rows) > statusColumns {
			for i := range rows {
				rows[i][column] = ""
			}
		}
	}
	writeColumns(w, rows)
}

// width is how many columns of a terminal rows take. Those without a heading
// are left out.
func width(rows [][]string) (total int) {
	for _, n := range widths(rows) {
		if n > 0 {
			total += n + 2
		}
	}
	return total - 2
}

func widths(rows [][]string) []int {
	all := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			all[i] = max(all[i], utf8.RuneCountInString(cell))
		}
	}
	return all
}

// writeColumns writes rows, but columns without a heading.
func writeColumns(w io.Writer, rows [][]string) {
	all := widths(rows)
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if all[i] > 0 {
				b.WriteString(cell + strings.Repeat(" ", all[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// shard names a shard.
func (t *statusTable) shard(s *overview.Shard) string {
	if t.wide {
		return string(s.ID)
	}
	return s.Short
}

// state is a shard's state.
func (t *statusTable) state(s *overview.Shard) string {
	const most = 40
	text := printable(s.State)
	if runes := []rune(text); len(runes) > most && !t.wide {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// leader names a leader: its host may have a long name, of which the end and
// what follows tell processes apart.
func (t *statusTable) leader(s *overview.Shard) string {
	const most = 18
	if t.wide {
		return dash(printable(s.Leader))
	}
	name := dash(printable(s.Host))
	if runes := []rune(name); len(runes) > most {
		return "…" + string(runes[len(runes)-most+1:])
	}
	return name
}

// position writes a position; of a sequence number only its last digits, which
// tell two of a shard apart.
func (t *statusTable) position(p *gerritstream.Position) string {
	const digits = 14
	switch {
	case p == nil:
		return "-"
	case t.wide || p.Unreadable != nil:
		return p.String()
	case len(p.After) > digits:
		return "…" + string(p.After[len(p.After)-digits:])
	case p.After == "" && !p.From.Time.IsZero() && !p.From.TrimHorizon:
		return p.From.Time.UTC().Format("01-02 15:04:05")
	}
	return p.String()
}

// consumerText says in a line how far a consumer is.
func consumerText(c *queue.Info, now time.Time) string {
	text := printable(c.Name) + ": nothing waits"
	if c.Pending > 0 {
		text = fmt.Sprintf("%s: %s wait, the oldest for %s",
			printable(c.Name), plural(int(c.Pending), "event"), when.Span(now.Sub(c.Oldest)))
	}
	if c.Reader == "" {
		return text + "; nobody reads"
	}
	return text + "; read by " + printable(c.Reader)
}

// originText writes where the stream began, and how often it was recreated.
func (t *statusTable) originText(o *gerritstream.Origin) string {
	from := "trim horizon"
	if !o.From.TrimHorizon {
		from = when.Format(o.From.Time.UTC(), t.now())
	}
	switch {
	case o.Epoch == 1:
		return from + "; the stream was recreated since"
	case o.Epoch > 1:
		return fmt.Sprintf("%s; the stream was recreated %d times since", from, o.Epoch)
	}
	return from
}

// ago writes how long ago something was.
func (t *statusTable) ago(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return overview.Span(max(0, t.now().Sub(at)).Truncate(time.Second))
}

// countIn writes a count in its format, or nothing for none.
func countIn(n int64, format string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

// dash stands for an empty string.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
