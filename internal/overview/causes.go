package overview

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// Cause is one thing that is wrong, whatever the number of shards and processes
// it concerns.
type Cause struct {
	Level  Level
	Name   string // of its kind, in a few words
	Text   string // for people
	Detail string // in the words of what failed; empty: Text has them
	Of     string // some of the shards or processes; empty: the whole
	Help   string // anchor of the section in docs/runbook.md

	thing string // that it concerns: "shard" or "process"
}

// fault is what is wrong with one thing.
type fault struct {
	level Level
	text  string
}

// kind is a kind of cause: how it is recognised, and what is said of it.
type kind struct {
	name  string
	help  string
	match *regexp.Regexp
	text  string // of what is wrong, up to a colon; empty: the text that was found
}

const queueIsFull = "queue is full"

// kinds are tried in their order.
var kinds = []kind{
	{"queue full", "queue-full", regexp.MustCompile(queueIsFull), "Zuul's queue is full"},
	{"throttled", "throttled", regexp.MustCompile(`(?i)(throttl|ThroughputExceeded|LimitExceeded|TooManyRequests)`),
		"Kinesis throttles the reads, perhaps because another program reads the stream too"},
	{"access denied", "access-denied", regexp.MustCompile(
		`(?i)(AccessDenied|access denied|does not grant|UnrecognizedClient|ExpiredToken|Signature|InvalidClientToken|` +
			`credentials|RequestTimeTooSkewed|AuthFailure|NotAuthorized)`),
		"Kinesis refuses access"},
	{"stream gone", "stream-gone", regexp.MustCompile(`(?i)(the stream is gone|stream not found|ResourceNotFound)`),
		"The stream is gone"},
	{"Kinesis away", "kinesis-away", regexp.MustCompile(`(?i)kinesis:.*(dial|connect|timeout|timed out|deadline|EOF|` +
		`reset|no such host|no route|TLS|unreachable|without progress|proxyconnect)`),
		"Kinesis does not answer"},
	{"Kinesis fails", "kinesis-away", regexp.MustCompile(`kinesis:`), "Kinesis fails"},
	{"store away", "store-away", regexp.MustCompile(
		`(?i)(zookeeper|zk:|session .*over|database|sqlite|disk|for the store)`), ""},
	{"sink", "sink", regexp.MustCompile(`(?i)(deliver to |waiting for the sink )`), "A sink does not take events"},
	{"halted", "halted", regexp.MustCompile(`^halted`), "A bad position waits for a decision"},
	{"not read", "shard-not-read", regexp.MustCompile(`no process reads it`), "No process reads some of the stream"},
	{"not read", "shard-not-read", regexp.MustCompile(`it ended here but is open`), ""},
	{"stalled", "stalled", regexp.MustCompile(`nothing was read for a while|waiting for a page`),
		"Nothing was read for some seconds, and it is not known yet why"},
	{"foreign leader stopped", "foreign-leader", regexp.MustCompile(`has stopped: records since`), ""},
	{"foreign leader", "foreign-leader", regexp.MustCompile(`which may lose or repeat`), "Zuul's own listener reads"},
	{"process gone", "process-gone", regexp.MustCompile(`^it is gone`), "gone"},
	{"position unreadable", "position-unreadable", regexp.MustCompile(`position cannot be read`), ""},
}

// Sections returns the sections of docs/runbook.md that Cause.Help can name.
func Sections() []string {
	all := []string{
		"store-away", "headroom", "possibly-lost", "expired-unread", "write-ahead-log", "consumer", "webhook",
		"other-trouble",
	}
	for _, k := range kinds {
		all = append(all, k.help)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ofStream is what the reader of a page knows of a stream already.
var ofStream = regexp.MustCompile(`arn:[a-z-]+:kinesis:[a-z0-9-]*:[0-9]*:stream/`)

var queueLength = regexp.MustCompile(`\(\d+ of \d+\)`)

// found is what is wrong with shards or processes, before it is grouped.
type found struct {
	level Level
	of    []string
	text  string
}

// causes returns what is wrong, by cause.
func (m *merged) causes(v *View) []Cause {
	all := m.storeCauses(v)
	var shards []found
	var away fault // of Kinesis, which explains why nothing comes
	for i := range v.Shards {
		if s := &v.Shards[i]; s.is.stalled && isOfKinesis(kindOf(s.fault.text).name) {
			away = s.fault
		}
	}
	for i := range v.Shards {
		s := &v.Shards[i]
		if s.fault.text == nothingRead && away.text != "" {
			s.fault, s.Level = away, away.level
		}
		if s.fault.text != "" {
			shards = append(shards, found{s.fault.level, []string{s.Short}, s.fault.text})
		}
	}
	all = append(all, group(m.processFaults(), "process")...)
	all = append(all, group(shards, "shard")...)
	all = append(all, m.headroomCause(v)...)
	all = append(all, m.lossCauses(v)...)
	all = append(all, m.readerCauses()...)
	all = explained(all)
	slices.SortStableFunc(all, func(a, b Cause) int { return cmp.Compare(b.Level, a.Level) })
	return all
}

// isOfKinesis reports whether a kind of cause is that Kinesis gives nothing.
func isOfKinesis(name string) bool {
	return slices.Contains([]string{"Kinesis away", "Kinesis fails", "throttled", "access denied", "stream gone"}, name)
}

// explained leaves out what another cause explains: a process that cannot list
// while its shards say why, a stalled shard, or one that is not read, while
// Kinesis or the store is away.
func explained(all []Cause) []Cause {
	has := func(name, thing string) bool {
		return slices.ContainsFunc(all, func(c Cause) bool {
			return c.Name == name && (thing == "" || c.thing == thing)
		})
	}
	kinesis := slices.ContainsFunc(all, func(c Cause) bool { return isOfKinesis(c.Name) })
	store := has("store away", "")
	var kept []Cause
	for _, c := range all {
		switch {
		case c.Name == "stalled" && (kinesis || store), c.Name == "not read" && store:
		case c.thing == "process" && isOfKinesis(c.Name) && has(c.Name, "shard"):
		case c.Name == "store away" && c.thing != "store" && has("store away", "store"):
		default:
			kept = append(kept, c)
		}
	}
	return kept
}

// group joins what has one cause, and says what it is and how many it concerns.
func group(faults []found, thing string) (causes []Cause) {
	var all []trouble.Trouble
	levels := map[string]Level{}
	for _, f := range faults {
		all = append(all, trouble.Trouble{Of: f.of, Text: f.text})
		cause := trouble.Cause(f.text)
		levels[cause] = max(levels[cause], f.level)
	}
	at := map[string]int{} // by name, the causes that are said in the same words
	of := map[string][]string{}
	for _, t := range trouble.Group(all) {
		k := kindOf(t.Text)
		c := Cause{Level: levels[trouble.Cause(t.Text)], Name: k.name, Help: k.help, Text: k.text, Detail: t.Text,
			thing: thing}
		c.Detail = ofStream.ReplaceAllString(c.Detail, "stream ")
		switch {
		case c.Text == "":
			c.Text, c.Detail = t.Text, ""
		case t.Text == nothingRead:
			c.Detail = ""
		}
		if length := queueLength.FindString(t.Text); k.name == "queue full" && length != "" {
			c.Text, c.Detail = c.Text+" "+length, ""
		}
		key := c.Name + "\n" + k.text
		if i, ok := at[key]; ok && k.text != "" {
			causes[i].Level = max(causes[i].Level, c.Level)
			of[key] = append(of[key], t.Of...)
			continue
		}
		at[key], of[key] = len(causes), t.Of
		causes = append(causes, c)
	}
	for key, i := range at {
		concern(&causes[i], of[key], thing)
	}
	return causes
}

// concern says how many a cause concerns.
func concern(c *Cause, of []string, thing string) {
	slices.SortFunc(of, byNumber)
	of = slices.Compact(of)
	c.Text = sentenceCase(c.Text)
	if len(of) == 0 {
		return
	}
	if thing == "process" {
		if c.Of = trouble.SomeOf(of); c.Name == "process gone" {
			c.Text = fmt.Sprintf("%s %s gone; others read what it read",
				plural(len(of), "process"), verb(len(of), "are"))
			c.Detail = ""
		}
		return
	}
	c.Of = thing + " " + of[0]
	if len(of) > 1 {
		c.Of = thing + "s " + trouble.SomeOf(of)
	}
	switch c.Name {
	case "queue full", "throttled", "Kinesis away", "Kinesis fails", "access denied", "stalled", "sink", "store away",
		"halted", "stream gone":
		c.Text += fmt.Sprintf(": %s %s", plural(len(of), thing), verb(len(of), "wait"))
	case "foreign leader":
		c.Text += fmt.Sprintf(" %s: it may lose or repeat events", plural(len(of), thing))
		c.Detail = ""
	}
}

// byNumber orders short IDs.
func byNumber(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// kindOf returns the kind of a text.
func kindOf(text string) kind {
	for _, k := range kinds {
		if k.match.MatchString(text) {
			return k
		}
	}
	return kind{name: "trouble", help: "other-trouble"}
}

// storeCauses are what is wrong with the store, or was found in it as a whole.
func (m *merged) storeCauses(v *View) (all []Cause) {
	in := &m.in.Store.Inspection
	if v.sum.storeAway > 0 {
		c := Cause{Trouble, "store away", v.storeName() + " does not answer; nothing is lost before the stream trims " +
			"what was not read", trouble.OneLine(m.in.Store.Err), "", "store-away", "store"}
		if !m.in.Store.At.IsZero() {
			c.Detail += "; what is shown of other processes is as of " + clock(m.in.Store.At)
		}
		all = append(all, c)
	}
	if in.ExpiredUnread > 0 && !in.ExpiredUnreadAt.IsZero() {
		all = append(all, Cause{Warning, "expired unread", fmt.Sprintf(
			"%s expired before any consumer had read %s, the last at %s", plural(int(in.ExpiredUnread), "event"),
			them(in.ExpiredUnread), clock(in.ExpiredUnreadAt)), "", "", "expired-unread", "store"})
	}
	if log := in.Log; log != nil && !log.HeldSince.IsZero() {
		if age := m.in.Now.Sub(log.HeldSince); age > time.Minute || log.Bytes > 128<<20 {
			all = append(all, Cause{Level: Warning, Name: "write-ahead log", Help: "write-ahead-log", thing: "store",
				Text: fmt.Sprintf("SQLite's write-ahead log has %d MB: readers keep it from being emptied, the oldest "+
					"for at least %s", log.Bytes/1e6, Span(age))})
		}
	}
	return all
}

func them(n int64) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

// headroomCause warns before the stream trims what was not read.
func (m *merged) headroomCause(v *View) []Cause {
	if !v.sum.hasRoom || m.origin == nil {
		return nil
	}
	c := Cause{Level: Warning, Name: "headroom", Help: "headroom"}
	switch limit := m.origin.Retention; {
	case v.sum.headroom <= 0:
		c.Level, c.Text = Trouble, "The stream trims what was not read: events are being lost"
	case v.sum.headroom < limit/4:
		c.Level, c.Text = Trouble, "In "+Span(v.sum.headroom)+" the stream begins to trim what was not read"
	case v.sum.headroom < limit/2:
		c.Text = "Half of the stream's retention is used up: " + Span(v.sum.headroom) + " are left"
	default:
		return nil
	}
	return []Cause{c}
}

// processFaults are what is wrong with processes.
func (m *merged) processFaults() (all []found) {
	running := 0
	for i := range m.reports {
		r := &m.reports[i]
		s := &r.Status
		add := func(level Level, text string) { all = append(all, found{level, []string{r.Process}, text}) }
		if !s.Began.IsZero() || s.Process != "" {
			running++
		}
		if age := m.in.Now.Sub(r.At).Abs(); age > staleReport && m.in.Store.AwaySince.IsZero() {
			add(Warning, "its last report is "+Span(age)+" off: the process is stuck, or a clock is wrong")
		}
		if burst := trouble.DeadLetterBurst(s.DeadRate, r.At); burst != "" {
			add(Warning, burst)
		}
		young := s.Listed.IsZero() && r.At.Sub(s.Began) < settleWithin // it tries again
		if s.Trouble != "" && !young {
			add(Trouble, s.Trouble)
		}
		for j := range s.Members {
			if p := &s.Members[j]; p.OtherConfig && r.Process == m.in.Process.Process {
				all = append(all, found{Warning, []string{p.Process}, "it is configured differently"})
			}
		}
	}
	if m.in.History != nil {
		for _, g := range m.in.History.gone(m.running(), m.in.Now) {
			if m.in.Now.Sub(g.Last) < goneFor {
				all = append(all, found{Warning, []string{g.Name}, "it is gone"})
			}
		}
	}
	return all
}

// goneFor is how long a process that is gone is something to look at.
const goneFor = 15 * time.Minute

// running are the processes that run.
func (m *merged) running() map[string]bool {
	names := map[string]bool{}
	for i := range m.reports {
		names[m.reports[i].Process] = true
	}
	return names
}

// readerCauses are what is wrong with consumers and webhooks.
func (m *merged) readerCauses() (all []Cause) {
	add := func(level Level, of, text, help string) {
		all = append(all, Cause{Level: level, Name: of, Text: sentenceCase(of) + ": " + text, Help: help})
	}
	lost := func(of string, n int64, from, to time.Time, help string) {
		if n > 0 {
			add(Warning, of, fmt.Sprintf("lost %s, which expired before they were acknowledged and had arrived "+
				"from %s to %s", plural(int(n), "event"), clock(from), clock(to)), help)
		}
	}
	for _, c := range m.consumers() {
		of := "consumer " + c.Name
		if c.Fault != "" {
			add(Trouble, of, c.Fault+"; nothing reads as it, and events are kept for it", "consumer")
		}
		lost(of, c.Expired, c.ExpiredFrom, c.ExpiredTo, "consumer")
	}
	for i := range m.in.Webhooks {
		w := &m.in.Webhooks[i]
		of := "webhook " + w.Name
		if text := w.Trouble(m.in.Now); text != "" {
			add(Trouble, of, text, "webhook")
		}
		lost(of, w.Expired, w.ExpiredFrom, w.ExpiredTo, "webhook")
	}
	return all
}

// lossIsNew is how long a loss is trouble.
const lossIsNew = 24 * time.Hour

// lossCauses say what may be lost.
func (m *merged) lossCauses(v *View) (all []Cause) {
	for _, l := range v.Losses {
		level := Warning
		if m.in.Now.Sub(l.Until) < lossIsNew {
			level = Trouble
		}
		all = append(all, Cause{Level: level, Name: "possibly lost", Help: "possibly-lost", Of: l.Of,
			Text: "Records may be lost: " + l.Text()})
	}
	return all
}

// stateOfMember describes a member of the group.
func stateOfMember(p *gerritstream.MemberStatus) string {
	switch {
	case p.Damaged != "":
		return "its announcement cannot be read"
	case !p.Readable:
		return "cannot read the stream"
	case p.OtherConfig:
		return "configured differently"
	}
	return ""
}
