package overview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/queue"
)

// Process is one process of the group.
type Process struct {
	Name    string
	Host    string
	Version string
	Asked   bool // the one that makes the view
	Leads   int
	State   string
	Level   Level
	Began   time.Time
}

// processes returns those that run, and those that are gone.
func (m *merged) processes() (all []Process) {
	var members []gerritstream.MemberStatus
	for i := range m.reports {
		if m.reports[i].Process == m.viewpoint() {
			members = m.reports[i].Status.Members
		}
	}
	for i := range m.reports {
		r := &m.reports[i]
		p := Process{Name: r.Process, Host: hostOf(r.Process), Began: r.Status.Began, State: "runs",
			Asked: r.Process == m.in.Process.Process}
		for j := range r.Status.Shards {
			if isLed(r.Status.Shards[j].State) {
				p.Leads++
			}
		}
		for j := range members {
			if member := &members[j]; member.Process == r.Process {
				p.Host, p.Version = cmp.Or(member.Host, p.Host), member.Version
				if text := stateOfMember(member); text != "" {
					p.State, p.Level = text, Warning
				}
			}
		}
		switch {
		case r.Status.Trouble != "" && !r.Status.Listed.IsZero():
			p.State, p.Level = "cannot list the stream", Trouble
		case r.Status.Trouble != "":
			p.State, p.Level = "has not listed the stream", Trouble
		case m.in.Now.Sub(r.At).Abs() > staleReport:
			p.State, p.Level = "last reported "+Span(m.in.Now.Sub(r.At).Abs())+" ago", Warning
		}
		all = append(all, p)
	}
	if m.in.History != nil {
		for _, g := range m.in.History.gone(m.running(), m.in.Now) {
			all = append(all, Process{Name: g.Name, Host: g.Host, Level: Warning,
				State: "gone for " + Span(m.in.Now.Sub(g.Last))})
		}
	}
	slices.SortFunc(all, func(a, b Process) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Loss is what may be lost for one cause: the span of all its intervals.
type Loss struct {
	Why         string
	From, Until time.Time // From: zero if it is not known
	Intervals   int
	Of          string // some of the shards, or the stream

	stream bool     // it was recorded of the stream
	shards []string // short, of which it was recorded
}

// Text says what it is in a line.
func (l *Loss) Text() string {
	from := "an unknown time"
	if !l.From.IsZero() {
		from = clock(l.From)
	}
	return fmt.Sprintf("Records that arrived from %s until %s may be lost", from, clock(l.Until))
}

// Reason says why, and of how many intervals.
func (l *Loss) Reason() string {
	if l.Intervals > 1 {
		return fmt.Sprintf("%s, %d intervals", l.Why, l.Intervals)
	}
	return l.Why
}

// where names the shards, or the stream.
func (l *Loss) where() string {
	var all []string
	if l.stream {
		all = append(all, "the stream")
	}
	slices.SortFunc(l.shards, byNumber)
	switch shards := slices.Compact(l.shards); len(shards) {
	case 0:
	case 1:
		all = append(all, "shard "+shards[0])
	default:
		all = append(all, "shards "+trouble.SomeOf(shards))
	}
	return strings.Join(all, ", ")
}

// Advice says what to do about it.
func (l *Loss) Advice() string {
	switch l.Why {
	case gerritstream.WhyTrimmed:
		return askGerrit + " Raise the stream's retention."
	case gerritstream.WhyForeignLed:
		return "Compare Zuul's builds with the changes updated in this time; let no other listener start at the tip."
	case gerritstream.WhySetByOperator:
		return "An operator chose this. Nothing is to be done."
	}
	return askGerrit
}

const askGerrit = "Ask Gerrit for the changes updated in this time, and have their events sent again."

// losses returns what may be lost, by cause, the newest first.
func (m *merged) losses(shards []Shard) []Loss {
	by := map[string]*Loss{}
	add := func(shard string, lost []gerritstream.Interval) {
		for _, i := range lost {
			if i.Until.Before(m.in.LostAfter) {
				continue
			}
			l := by[i.Why]
			if l == nil {
				l = &Loss{Why: i.Why, From: i.From, Until: i.Until}
				by[i.Why] = l
			}
			l.Intervals++
			if i.From.Before(l.From) {
				l.From = i.From
			}
			if i.Until.After(l.Until) {
				l.Until = i.Until
			}
			if shard == "" {
				l.stream = true
			} else {
				l.shards = append(l.shards, shard)
			}
		}
	}
	if m.origin != nil {
		add("", m.origin.Lost)
	}
	for i := range shards {
		add(shards[i].Short, shards[i].Facts.Lost)
	}
	var all []Loss
	for _, l := range by {
		l.Of = l.where()
		all = append(all, *l)
	}
	slices.SortFunc(all, func(a, b Loss) int { return cmp.Or(b.Until.Compare(a.Until), cmp.Compare(a.Why, b.Why)) })
	return all
}

// Reader is a consumer of the queue, or a webhook.
type Reader struct {
	Kind, Name string
	State      string
	Level      Level
	Pending    int64
	Oldest     time.Time
	Process    string // that reads or delivers; empty: none
	Dead       int64
}

// consumers are those that are no webhooks.
func (m *merged) consumers() []queue.Info {
	return slices.DeleteFunc(slices.Clone(m.in.Consumers), func(c queue.Info) bool {
		_, hook := queue.WebhookOf(c.Name)
		return hook
	})
}

func (m *merged) readers() (all []Reader) {
	for _, c := range m.consumers() {
		r := Reader{Kind: "consumer", Name: c.Name, Pending: c.Pending, Oldest: c.Oldest, Process: c.Reader}
		switch {
		case c.Fault != "":
			r.State, r.Level = c.Fault, Trouble
		case c.Reader == "":
			r.State = "nobody reads"
		default:
			r.State = "read"
		}
		all = append(all, r)
	}
	for i := range m.in.Webhooks {
		w := &m.in.Webhooks[i]
		r := Reader{Kind: "webhook", Name: w.Name, State: w.Text(m.in.Now), Pending: w.Pending, Oldest: w.Oldest,
			Process: w.Reader, Dead: w.DeadLetters}
		if w.Wrong() {
			r.Level = Warning
		}
		if w.Trouble(m.in.Now) != "" {
			r.Level = Trouble
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b Reader) int { return cmp.Compare(b.Level, a.Level) })
	return all
}

// DeadLetter is a record that is not an event, without its payload.
type DeadLetter struct {
	ID, Shard, Sequence string
	Arrived             time.Time
	Reason, Detail      string
	Length              int
}

func deadLetters(stored []gerritstream.StoredDeadLetter) (all []DeadLetter) {
	for i := range stored {
		d := &stored[i].DeadLetter
		all = append(all, DeadLetter{ID: d.ID.String(), Shard: Short(d.Shard), Sequence: string(d.Seq),
			Arrived: d.Arrived, Reason: d.Reason, Detail: d.Detail, Length: d.Length})
	}
	return all
}

// Tile is one number with its last hour.
type Tile struct {
	Name, Value, Unit string
	Note              string
	Level             Level
	Past              []float64 // oldest first; below 0: not known
	Limit             float64   // 0: none
}

// tiles returns the numbers to watch.
func (m *merged) tiles(v *View) []Tile {
	past := func(of func(*Sample) float64) []float64 {
		if m.in.History == nil {
			return nil
		}
		return m.in.History.past(of)
	}
	events := Tile{Name: "Events", Value: "–", Note: "queued by the whole group",
		Past: past(func(s *Sample) float64 { return s.Rate })}
	if v.sum.rate >= 0 {
		events.Value, events.Unit = Number(v.sum.rate), "/s"
	}
	delay := Tile{Name: "Delay, p99", Value: "–", Note: "arrival to queue; slowest process, 5 min",
		Past: past(func(s *Sample) float64 { return s.Delay })}
	if d := m.in.History.delay(); d >= 0 {
		delay.Value, delay.Unit = split(Span(time.Duration(d * float64(time.Second))))
	}
	room := Tile{Name: "Until loss", Value: "–", Note: "before the stream trims what was not read",
		Past: past(func(s *Sample) float64 { return s.Headroom })}
	if v.sum.hasRoom {
		room.Value = Span(v.sum.headroom.Truncate(time.Second))
		for _, c := range m.headroomCause(v) {
			room.Level = c.Level
		}
	}
	stored := m.storeTiles(past)
	return []Tile{events, delay, stored[0], room, stored[1], stored[2]}
}

// storeTiles are those of the queue, of dead letters and of consumers.
func (m *merged) storeTiles(past func(func(*Sample) float64) []float64) []Tile {
	in := &m.in.Store.Inspection
	var backlog int64
	for i := range m.in.Consumers {
		backlog += m.in.Consumers[i].Pending
	}
	depth := Tile{Name: "Queue", Value: Number(float64(in.Queue)), Note: "events held; no limit",
		Past: past(func(s *Sample) float64 { return s.Queue })}
	if limit := m.in.Setup.QueueLimit; limit > 0 {
		depth.Limit, depth.Note = float64(limit), "of "+Number(float64(limit))
		switch {
		case in.Queue >= limit:
			depth.Level = Trouble
		case in.Queue*5 >= limit*4:
			depth.Level = Warning
		}
	}
	dead := Tile{Name: "Dead letters", Value: Number(float64(in.DeadLetters)), Note: "held",
		Past: past(func(s *Sample) float64 { return s.Dead })}
	if in.Discarded > 0 {
		dead.Note = fmt.Sprintf("held; %s more were only counted", Number(float64(in.Discarded)))
	}
	waiting := Tile{Name: "Consumers' backlog", Value: Number(float64(backlog)),
		Note: plural(len(m.consumers()), "consumer") + ", " + plural(len(m.in.Webhooks), "webhook"),
		Past: past(func(s *Sample) float64 { return s.Backlog })}
	all := []Tile{depth, dead, waiting}
	if m.in.Store.At.IsZero() {
		for i := range all {
			all[i].Value, all[i].Note = "–", "not known yet"
		}
	}
	if !m.in.Store.AwaySince.IsZero() && !m.in.Store.At.IsZero() {
		for i := range all {
			all[i].Note += "; " + Span(m.in.Now.Sub(m.in.Store.At).Truncate(time.Second)) + " ago"
		}
	}
	if m.in.Setup.isZooKeeper() {
		all[2].Value, all[2].Note, all[2].Past = "–", "Zuul reads the queue", nil
	}
	return all
}

// split parts a span of one unit from it.
func split(span string) (value, unit string) {
	if value, unit, ok := strings.Cut(span, " "); ok && !strings.Contains(unit, " ") {
		return value, " " + unit
	}
	return span, ""
}
