package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
)

// statusTable writes a status for people: what matters first, within 80 columns
// unless it is wide.
type statusTable struct {
	view   *statusView
	now    time.Time
	wide   bool // with whole ids, names and positions
	colour bool
	quiet  bool // without what is wrong
}

// statusColumns is the width that the table keeps to unless it is wide.
const statusColumns = 80

// write writes all of it.
func (t *statusTable) write(w io.Writer) error {
	v := t.view
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", paint(t.colour, t.mood(), v.State))
	if !t.quiet {
		for _, line := range v.Trouble {
			fmt.Fprintf(&b, "trouble: %s\n", printable(line))
		}
	}
	fmt.Fprintf(&b, "\nconnection   %s\nstore        %s\n", v.Connection, v.Store)
	if o := v.Origin; o != nil {
		fmt.Fprintf(&b, "stream       %s\norigin       %s\n", o.Stream.ARN, t.originText(o))
	}
	fmt.Fprintf(&b, "processes    %s\n", t.processes())
	fmt.Fprintf(&b, "queue        %s%s\n", t.queueText(), countIn(v.Expired, " (%d more expired)"))
	fmt.Fprintf(&b, "dead letters %s%s\n", thousands(int(v.DeadLetters)),
		countIn(v.Discarded, " (%d more were only counted)"))
	for i := range v.Consumers {
		fmt.Fprintf(&b, "consumer     %s\n", consumerText(&v.Consumers[i], t.now))
	}
	for i := range v.Webhooks {
		fmt.Fprintf(&b, "webhook      %s: %s\n", printable(v.Webhooks[i].Name), printable(v.Webhooks[i].Text(t.now)))
	}
	if len(v.Shards) > 0 {
		b.WriteString("\n")
		if err := t.writeShards(&b); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mood is the colour of the first line.
func (t *statusTable) mood() string {
	if len(t.view.Trouble) > 0 {
		return red
	}
	return green
}

// processes names the processes, on several lines if need be.
func (t *statusTable) processes() string {
	const indent = "             "
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

// writeShards writes a line for each shard.
func (t *statusTable) writeShards(w io.Writer) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	commit := func(text string) string {
		if !t.wide {
			return ""
		}
		return text + "\t"
	}
	fmt.Fprintf(columns, "SHARD\tSTATE\tLEADER\tLAG\tRATE\tEVENT\t%sPOSITION\n", commit("COMMIT"))
	for i := range t.view.Shards {
		s, rate := &t.view.Shards[i], "-"
		if s.Rate != nil {
			rate = perSecond(*s.Rate)
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\t%s\t%s%s\n", t.shard(s.Shard), t.state(s), t.leader(s.Leader),
			ago(s.Lag), rate, ago(s.LastEventAge), commit(ago(s.LastCommitAge)), t.position(s.Position))
	}
	return columns.Flush()
}

// shard names a shard.
func (t *statusTable) shard(id gerritstream.ShardID) string {
	if t.wide {
		return string(id)
	}
	return brief(id)
}

// state is a shard's state, with the parents that it waits for. A shard whose
// leader cannot go on is not read.
func (t *statusTable) state(s *shardView) string {
	switch {
	case len(s.WaitingFor) > 0 && s.State == gerritstream.StateWaiting:
		parents := make([]string, len(s.WaitingFor))
		for i, id := range s.WaitingFor {
			parents[i] = t.shard(id)
		}
		return "waits for " + strings.Join(parents, ", ")
	case s.State == gerritstream.StateReading && s.Trouble != "":
		return "retrying"
	}
	return string(s.State)
}

// leader names a leader: its host may have a long name, of which the end and
// what follows tell processes apart.
func (t *statusTable) leader(name string) string {
	const most = 18
	name = dash(printable(name))
	if runes := []rune(name); len(runes) > most && !t.wide {
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
		from = when.Format(o.From.Time.UTC(), t.now)
	}
	switch {
	case o.Epoch == 1:
		return from + "; the stream was recreated since"
	case o.Epoch > 1:
		return fmt.Sprintf("%s; the stream was recreated %d times since", from, o.Epoch)
	}
	return from
}

// ago writes seconds for people.
func ago(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return when.Span(time.Duration(*seconds * float64(time.Second)))
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
