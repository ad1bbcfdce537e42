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

	kind    trouble.Kind // empty: of none that has a name
	thing   string       // that it concerns: "shard", "process" or "store"
	passing bool         // a warning that may pass soon, or that somebody may have wanted
}

// Line says all of it in one line.
func (c *Cause) Line() string {
	line := c.Text
	if c.Of != "" {
		line += " (" + c.Of + ")"
	}
	if c.Detail != "" {
		line += ": " + c.Detail
	}
	return line
}

// IsFinding reports whether somebody should look into it now: a probe fails for
// it. Other warnings are for those who look anyway.
func (c *Cause) IsFinding() bool { return c.Level == Trouble || c.Level == Warning && !c.passing }

// fault is what is wrong with one thing.
type fault struct {
	level Level
	kind  trouble.Kind
	text  string
}

// ofStream is what the reader of a page knows of a stream already.
var ofStream = regexp.MustCompile(`arn:[a-z-]+:kinesis:[a-z0-9-]*:[0-9]*:stream/`)

var queueLength = regexp.MustCompile(`\(\d+ of \d+\)`)

// found is what is wrong with one shard or process, before it is grouped.
type found struct {
	fault fault
	of    string
}

// causes returns what is wrong, by cause.
func (m *merged) causes(v *View) []Cause {
	all := m.storeCauses(v)
	var shards []found
	var away fault // of Kinesis, which explains why nothing comes
	for i := range v.Shards {
		if s := &v.Shards[i]; s.is.stalled && ofSource(s.fault.kind) {
			away = s.fault
		}
	}
	for i := range v.Shards {
		s := &v.Shards[i]
		if s.fault.text == nothingRead && away.text != "" {
			s.fault, s.Level = away, away.level
		}
		if s.fault.text != "" {
			shards = append(shards, found{s.fault, s.Short})
		}
	}
	all = append(all, m.groupCauses()...)
	all = append(all, group(m.processFaults(), "process")...)
	all = append(all, group(shards, "shard")...)
	all = append(all, m.pauseCauses()...)
	all = append(all, m.headroomCause(v)...)
	all = append(all, m.lossCauses(v)...)
	all = append(all, m.readerCauses()...)
	if len(all) == 0 {
		all = m.nobodyLeads(v)
	}
	all = explained(all)
	slices.SortStableFunc(all, func(a, b Cause) int { return cmp.Compare(b.Level, a.Level) })
	return all
}

// nobodyLeads warns while no shard has a leader, where nothing else is wrong
// yet: that passes, or it is soon known why it does not.
func (m *merged) nobodyLeads(v *View) []Cause {
	began := m.in.Process.Began
	changing := slices.ContainsFunc(v.Shards, func(s Shard) bool { return s.State == betweenLeaders })
	if v.sum.read > 0 || !changing || began.IsZero() || m.in.Now.Sub(began) < settleWithin {
		return nil
	}
	of := kindOf(notRead)
	return []Cause{{Level: Warning, Name: of.name, Help: of.help, Text: "No shard has a leader at the moment",
		kind: notRead, passing: true}}
}

// explained leaves out what another cause explains: a process that cannot list
// while its shards say why, a stalled shard, or one that is not read, while
// Kinesis or the store is away or no process runs.
func explained(all []Cause) []Cause {
	has := func(k trouble.Kind, thing string) bool {
		return slices.ContainsFunc(all, func(c Cause) bool {
			return c.kind == k && (thing == "" || c.thing == thing)
		})
	}
	kinesis := slices.ContainsFunc(all, func(c Cause) bool { return ofSource(c.kind) })
	store := has(trouble.StoreAway, "")
	var kept []Cause
	for _, c := range all {
		switch {
		case c.kind == trouble.Stalled && (kinesis || store):
		case c.kind == notRead && (store || has(noProcess, "")):
		case c.kind == processGone && has(noProcess, ""): // nobody reads what it read
		case c.thing == "process" && ofSource(c.kind) && has(c.kind, "shard"):
		case c.kind == trouble.StoreAway && c.thing != "store" && has(trouble.StoreAway, "store"):
		default:
			kept = append(kept, c)
		}
	}
	return kept
}

// group joins what has one cause, and says what it is and how many it concerns.
func group(faults []found, thing string) (causes []Cause) {
	at := map[string]int{} // by kind, and by text where that is what is said
	var of [][]string
	for _, f := range faults {
		k := kindOf(f.fault.kind)
		key := string(f.fault.kind) + "\n"
		if k.text == "" {
			key += trouble.Cause(f.fault.text)
		}
		i, seen := at[key]
		if !seen {
			i = len(causes)
			at[key], of = i, append(of, nil)
			causes = append(causes, cause(&f.fault, thing))
		}
		causes[i].Level = max(causes[i].Level, f.fault.level)
		of[i] = append(of[i], f.of)
	}
	for i := range causes {
		concern(&causes[i], of[i])
	}
	return causes
}

// cause says what the cause of a fault is.
func cause(f *fault, thing string) Cause {
	k, text := kindOf(f.kind), trouble.OneLine(f.text)
	c := Cause{Level: f.level, Name: k.name, Text: k.text, Help: k.help, kind: f.kind, thing: thing,
		Detail: ofStream.ReplaceAllString(text, "stream ")}
	length := queueLength.FindString(text)
	switch {
	case c.Text == "":
		c.Text, c.Detail = text, ""
	case f.kind == trouble.QueueFull && length != "":
		c.Text, c.Detail = c.Text+" "+length, ""
	case text == nothingRead, f.kind == notRead, f.kind == foreignLeads, f.kind == processGone, f.kind == configDiffers:
		c.Detail = ""
	}
	c.passing = f.kind == trouble.QueueFull || f.kind == trouble.Stalled || f.kind == foreignLeads ||
		f.kind == processGone || f.kind == configDiffers
	return c
}

// concern says how many a cause concerns.
func concern(c *Cause, of []string) {
	slices.SortFunc(of, byNumber)
	of = slices.Compact(of)
	c.Text = sentenceCase(c.Text)
	if c.thing == "process" {
		if c.Of = trouble.SomeOf(of); c.kind == processGone {
			c.Text = fmt.Sprintf("%s %s gone; others read what it read",
				plural(len(of), "process"), verb(len(of), "are"))
			if len(of) > 1 {
				c.Text = fmt.Sprintf("%s are gone; others read what they read", plural(len(of), "process"))
			}
		}
		return
	}
	c.Of = c.thing + " " + of[0]
	if len(of) > 1 {
		c.Of = c.thing + "s " + trouble.SomeOf(of)
	}
	switch {
	case kindOf(c.kind).waits:
		c.Text += fmt.Sprintf(": %s %s", plural(len(of), c.thing), verb(len(of), "wait"))
	case c.kind == foreignLeads:
		c.Text += fmt.Sprintf(" %s: it may lose or repeat events", plural(len(of), c.thing))
	}
}

// byNumber orders short IDs.
func byNumber(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// noProcess is the kind of the cause that nothing runs.
const noProcess trouble.Kind = "no-process"

// groupCauses are what is wrong with the processes as a whole.
func (m *merged) groupCauses() []Cause {
	if len(m.reports) == 0 {
		c := Cause{Level: Trouble, Name: "no process", Text: "No process runs", Help: "all-processes-gone",
			kind: noProcess}
		if m.origin == nil {
			c.Text = "No process has run on this store yet"
		}
		return []Cause{c}
	}
	if m.origin != nil || len(m.ids) > 0 {
		return nil
	}
	for i := range m.reports {
		r := &m.reports[i]
		if r.At.Sub(r.Status.Began) < settleWithin || r.Status.Trouble != "" {
			return nil
		}
	}
	return []Cause{{Level: Trouble, Name: "not listed", Text: "No process has listed the stream yet, and none says why",
		Help: "kinesis-away"}}
}

// storeCauses are what is wrong with the store, or was found in it as a whole.
func (m *merged) storeCauses(v *View) (all []Cause) {
	in := &m.in.Store.Inspection
	if v.sum.storeAway > 0 {
		c := Cause{Trouble, "store away", v.storeName() + " does not answer; nothing is lost before the stream trims " +
			"what was not read", trouble.OneLine(m.in.Store.Err), "", "store-away", trouble.StoreAway, "store", false}
		all = append(all, c)
	}
	if at := in.ExpiredUnreadAt; in.ExpiredUnread > 0 && !at.IsZero() && !at.Before(m.in.LostAfter) {
		all = append(all, Cause{Level: Warning, Name: "expired unread", Help: "expired-unread", thing: "store",
			Text: fmt.Sprintf("%s expired before any consumer had read %s, the last at %s",
				plural(int(in.ExpiredUnread), "event"), them(in.ExpiredUnread), clock(at))})
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
	c := Cause{Level: Warning, Name: "headroom", Help: "headroom", passing: true}
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
	for i := range m.reports {
		r := &m.reports[i]
		s := &r.Status
		add := func(level Level, k trouble.Kind, text string) {
			all = append(all, found{fault{level, k, text}, r.Process})
		}
		if age := m.in.Now.Sub(r.At).Abs(); age > staleReport && m.in.Store.AwaySince.IsZero() {
			add(Warning, processStuck, "a process is stuck, or a clock is wrong: the last report is "+Span(age)+" off")
		}
		if burst := trouble.DeadLetterBurst(s.DeadRate, r.At); burst != "" {
			add(Warning, deadLetterRate, burst)
		}
		if s.Trouble != "" && !IsYoung(r) {
			add(Trouble, known(trouble.Kind(s.Causes[""]), s.Trouble), s.Trouble)
		}
		if r.Process != m.viewpoint() {
			continue
		}
		for j := range s.Members {
			if p := &s.Members[j]; p.OtherConfig {
				all = append(all, found{fault{Warning, configDiffers, "configured differently"}, p.Process})
			}
		}
	}
	if m.in.History != nil {
		for _, g := range m.in.History.gone(m.running(), m.in.Now) {
			if m.in.Now.Sub(g.Last) < goneFor {
				all = append(all, found{fault{Warning, processGone, "gone"}, g.Name})
			}
		}
	}
	return all
}

// IsYoung reports whether a process has just begun and has not listed the
// stream yet: what it met is no trouble, it tries again.
func IsYoung(r *gerritstream.Report) bool {
	return r.Status.Listed.IsZero() && r.At.Sub(r.Status.Began) < settleWithin
}

// viewpoint is the process as which others are seen: the asked one, or any if
// the store is looked at from outside.
func (m *merged) viewpoint() string {
	if m.in.Process.Process == "" && len(m.reports) > 0 {
		return m.reports[0].Process
	}
	return m.in.Process.Process
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
		if n > 0 && !to.Before(m.in.LostAfter) {
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
		all = append(all, Cause{Level: level, Name: "possibly lost", Help: "possibly-lost", Text: l.Text(),
			Of: l.Of + ": " + l.Reason()})
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
