package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// The limits of `status --check`.
const (
	staleReport  = 2 * time.Minute  // processes report every 5 to 30 s, by their own clocks
	staleCommit  = 2 * time.Minute  // progress is committed every 30 s, also on an idle shard
	stalePage    = 90 * time.Second // a page is read several times a second, and at least once a minute
	settleWithin = 30 * time.Second // by then a process has listed the stream, and shards have leaders
	longReader   = time.Minute      // reads of a SQLite file take less
	largeLog     = 128 << 20        // bytes: several times what short reads leave there
)

// trouble returns what an operator should look at, a line for each cause.
func (in *statusInput) trouble(v *statusView) []string {
	var found []trouble.Trouble
	add := func(of, format string, args ...any) {
		t := trouble.Trouble{Text: fmt.Sprintf(format, args...)}
		if of != "" {
			t.Of = []string{of}
		}
		found = append(found, t)
	}
	switch {
	case v.Origin == nil && settled("", in.inspection.Reports):
		add("", "nothing has been read yet: no process has run on this store")
	case v.Origin != nil && len(v.Processes) == 0:
		add("", "no process is running")
	}
	for _, p := range v.Processes {
		if age := in.now.Sub(p.At).Abs(); age > staleReport {
			add(p.Process, "the last report is %s off: the process is stuck, or a clock is wrong",
				age.Round(time.Second))
		}
		if burst := trouble.DeadLetterBurst(p.deadRate, p.At); burst != "" {
			add(p.Process, "%s", burst)
		}
		if p.Trouble != "" {
			add(p.Process, "%s", p.Trouble)
		}
	}
	if at := in.inspection.ExpiredUnreadAt; v.Unread > 0 && !at.IsZero() && !at.Before(in.lostAfter) {
		add("", "%d events expired before any consumer had read them, the last at %s",
			v.Unread, at.UTC().Format(time.RFC3339))
	}
	in.readerTrouble(add)
	if log := in.inspection.Log; log != nil && !log.HeldSince.IsZero() {
		if age := in.now.Sub(log.HeldSince).Round(time.Second); age > longReader || log.Bytes > largeLog {
			add("", "the write-ahead log has %d MB: readers keep it from being emptied, the oldest for at least %s",
				log.Bytes/1e6, age)
		}
	}
	lost := losses{after: in.lostAfter, by: map[string]*loss{}}
	if v.Origin != nil {
		lost.add("stream", v.Origin.Lost)
	}
	for i := range v.Shards {
		s := &v.Shards[i]
		for _, text := range in.shardTrouble(s, len(v.Processes)) {
			add(string(s.Shard), "%s", text)
		}
		lost.add(string(s.Shard), s.Lost)
	}
	lines := []string{}
	for _, t := range append(trouble.Group(found), lost.all()...) {
		lines = append(lines, t.String())
	}
	return lines
}

// readerTrouble adds what is wrong with the consumers of the queue and with
// webhooks.
func (in *statusInput) readerTrouble(add func(of, format string, args ...any)) {
	lost := func(of string, n int64, from, to time.Time) {
		if n > 0 && !to.Before(in.lostAfter) {
			add(of, "lost %s, which expired before they were acknowledged and had arrived from %s to %s",
				plural(int(n), "event"), from.Format(time.RFC3339), to.Format(time.RFC3339))
		}
	}
	for i := range in.consumers {
		c := &in.consumers[i]
		if c.Fault != "" {
			add("consumer "+c.Name, "%s; nothing reads as it, and events are kept for it", c.Fault)
		}
		lost("consumer "+c.Name, c.Expired, c.ExpiredFrom, c.ExpiredTo)
	}
	for i := range in.hooks {
		h := &in.hooks[i]
		if text := h.Trouble(in.now); text != "" {
			add("webhook "+h.Name, "%s", printable(text))
		}
		lost("webhook "+h.Name, h.Expired, h.ExpiredFrom, h.ExpiredTo)
	}
}

// shardTrouble returns what is wrong with one shard.
func (in *statusInput) shardTrouble(s *shardView, processes int) (found []string) {
	if s.Position != nil && s.Position.Unreadable != nil {
		found = append(found, "its position cannot be read: "+s.Position.Unreadable.Error())
	}
	switch s.State {
	case gerritstream.StateEnded:
		if s.OpenAfterEnd {
			found = append(found,
				"it ended here but is open in the stream: nothing reads it until `checkpoint set` moves it back")
		}
	case stateUnread, gerritstream.StateStandby:
		if in.isUnread(s, processes) {
			found = append(found, "no process reads it")
		}
	case gerritstream.StateReading, gerritstream.StateHalted:
		if s.Foreign && !s.ForeignUnread.IsZero() {
			found = append(found, fmt.Sprintf(
				"its leader, %s, has stopped: records since %s are not handled; its lock may be abandoned",
				s.Leader, s.ForeignUnread.UTC().Format(time.RFC3339)))
		}
		if s.Trouble != "" {
			found = append(found, s.Trouble)
		}
		if age := in.idle(s); s.Trouble == "" && age > staleCommit { // trouble explains the pause
			found = append(found, fmt.Sprintf("nothing was committed for %s", age.Round(time.Second)))
		}
	}
	return found
}

// isUnread reports whether a shard without a leader should have one by now. It
// has none for some seconds while its leader is replaced or a process begins.
func (in *statusInput) isUnread(s *shardView, processes int) bool {
	if processes == 0 {
		return false // reported once, for all shards
	}
	if !s.LastCommit.IsZero() && in.now.Sub(s.LastCommit) < staleCommit {
		return false
	}
	return s.settled
}

// idle returns for how long the leader of a shard has committed nothing though
// it should have. The leader's own clock counts if it reports: from the start
// of its term, unless it walks through a part of the shard without records,
// where there is nothing to commit.
func (in *statusInput) idle(s *shardView) time.Duration {
	report := s.report.status
	switch {
	case s.Foreign: // another program commits elsewhere, and only when there are events
		return 0
	case report != nil && !report.AtTip && s.report.at.Sub(report.Last.Page) < stalePage:
		return 0
	case report != nil && !report.Since.IsZero():
		last := report.Since
		if report.Last.Commit.After(last) {
			last = report.Last.Commit
		}
		return s.report.at.Sub(last)
	case s.LastCommit.IsZero():
		return 0
	}
	return in.now.Sub(s.LastCommit)
}

// losses gathers what may be lost, by cause.
type losses struct {
	after time.Time // losses that ended before are ignored
	order []*loss
	by    map[string]*loss
}

// loss is what may be lost for one cause: the span of all its intervals.
type loss struct {
	span gerritstream.Interval
	n    int
	of   []string
}

// add adds what a shard, or the stream, may have lost.
func (c *losses) add(of string, lost []gerritstream.Interval) {
	for _, i := range lost {
		if i.Until.Before(c.after) {
			continue
		}
		l := c.by[i.Why]
		if l == nil {
			l = &loss{span: i}
			c.by[i.Why], c.order = l, append(c.order, l)
		}
		l.n++
		if i.From.Before(l.span.From) {
			l.span.From = i.From
		}
		if i.Until.After(l.span.Until) {
			l.span.Until = i.Until
		}
		if !slices.Contains(l.of, of) {
			l.of = append(l.of, of)
		}
	}
}

// all returns a line for each cause.
func (c *losses) all() (lines []trouble.Trouble) {
	for _, l := range c.order {
		from, why := "an unknown time", l.span.Why
		if !l.span.From.IsZero() {
			from = l.span.From.UTC().Format(time.RFC3339)
		}
		if l.n > 1 {
			why = fmt.Sprintf("%s, %d intervals", why, l.n)
		}
		lines = append(lines, trouble.Trouble{Of: l.of, Text: fmt.Sprintf(
			"records that arrived from %s until %s may be lost (%s)",
			from, l.span.Until.UTC().Format(time.RFC3339), why)})
	}
	return lines
}

// findings returns the trouble as an error, a line each; nil: there is none.
func (v *statusView) findings() error {
	errs := make([]error, len(v.Trouble))
	for i, line := range v.Trouble {
		errs[i] = errors.New(line)
	}
	return errors.Join(errs...)
}
