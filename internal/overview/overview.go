package overview

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/queue"
)

// Level says how bad something is.
type Level int

// The levels, the worst last.
const (
	Fine Level = iota
	Warning
	Trouble
)

// String returns the level in a word.
func (l Level) String() string { return [...]string{"fine", "warning", "trouble"}[l] }

// Input is what a View is made from.
type Input struct {
	Process gerritstream.Status // of the process that is asked, now; zero: the store is looked at from outside
	Store   Store
	Setup   Setup

	Consumers   []queue.Info // those of webhooks are left out
	Webhooks    []hooks.View
	DeadLetters []gerritstream.StoredDeadLetter // some of the newest
	Events      []Event                         // of the process, the newest first

	History *History   // nil: none
	Pauses  pauses.Set // in force

	LostAfter time.Time // losses that ended before are known already

	Now   time.Time     // by the local clock
	Ahead time.Duration // how far the service's clock is ahead of it
}

// Store is what was last seen in the store.
type Store struct {
	Inspection gerritstream.Inspection
	At         time.Time // when it was inspected; zero: never
	AwaySince  time.Time // since when inspecting it has failed; zero: it does not
	Err        string    // why
}

// Setup is what a process is set up with and does not change.
type Setup struct {
	Connection string
	Store      string // its address
	Version    string

	QueueLimit   int64         // how many events the queue may hold; 0: any number
	PollInterval time.Duration // between two pages of a shard at its tip
}

// isZooKeeper reports whether the queue is Zuul's.
func (s *Setup) isZooKeeper() bool { return strings.HasPrefix(s.Store, "zookeeper:") }

// Event is one record's envelope and what became of it.
type Event struct {
	At       time.Time `json:"at"`
	Verdict  string    `json:"verdict"`       // "queued", "filtered" or "dead"
	Why      string    `json:"why,omitempty"` // the filter's rule, or the reason of a dead letter
	Type     string    `json:"type,omitempty"`
	Project  string    `json:"project,omitempty"`
	Ref      string    `json:"ref,omitempty"`
	Change   int64     `json:"change,omitempty"`
	Shard    string    `json:"shard"` // short
	Sequence string    `json:"seq,omitempty"`
	By       string    `json:"-"` // the process that handled it, or its host
}

// View is how the group is doing at one moment.
type View struct {
	Level    Level
	Sentence string
	Causes   []Cause // the worst first

	Tiles     []Tile
	Shards    []Shard   // the worst first, then by ID
	Processes []Process // by name
	Losses    []Loss
	Readers   []Reader // consumers and webhooks, what is wrong first
	Events    []Event
	Dead      []DeadLetter

	Stream gerritstream.Stream
	Setup  Setup
	From   Viewpoint

	sum sum
}

// Viewpoint is who made a View, and when.
type Viewpoint struct {
	Process   string
	Now       time.Time
	Inspected time.Time // when the store was; zero: never
}

// sum is what the sentence and the tiles say of all shards.
type sum struct {
	open, read int // shards; open: those that are to be read
	ended      int
	waits      int           // shards that are read and wait for something
	paused     int           // shards that are led and paused
	lag        time.Duration // the greatest of a shard that is read
	atTip      bool          // each open shard
	rate       float64       // events a second; below 0: not known
	headroom   time.Duration
	hasRoom    bool // headroom is known
	storeAway  time.Duration
	processes  int // that run
}

// New returns the view.
func New(in *Input) View {
	v := View{
		Stream: in.Process.Stream, Setup: in.Setup,
		From: Viewpoint{Process: in.Process.Process, Now: in.Now, Inspected: in.Store.At},
	}
	m := in.merge()
	if v.Stream == (gerritstream.Stream{}) && m.origin != nil {
		v.Stream = m.origin.Stream
	}
	for _, id := range slices.Sorted(maps.Keys(m.ids)) {
		v.Shards = append(v.Shards, m.shard(id))
	}
	v.sum = in.sum(v.Shards)
	v.sum.processes = len(m.reports)
	v.Processes = m.processes()
	v.Events = m.events()
	v.Losses = m.losses(v.Shards)
	v.Causes = m.causes(&v)
	for i := range v.Causes {
		v.Level = max(v.Level, v.Causes[i].Level)
	}
	v.Sentence = v.sentence()
	v.Tiles = m.tiles(&v)
	v.Readers = m.readers()
	v.Dead = deadLetters(in.DeadLetters)
	slices.SortStableFunc(v.Shards, func(a, b Shard) int {
		return cmp.Or(cmp.Compare(b.Level, a.Level), cmp.Compare(a.rank(), b.rank()))
	})
	return v
}

// sum adds shards up.
func (in *Input) sum(shards []Shard) sum {
	v := sum{atTip: true, rate: Unknown}
	known, missing, rate := false, false, 0.0
	for i := range shards {
		s := &shards[i]
		if s.is.ended {
			v.ended++
		}
		if s.is.ended || s.is.waiting {
			continue
		}
		v.open++
		if s.is.read {
			v.read++
		}
		if s.is.read && s.is.stalled {
			v.waits++
		}
		if s.is.paused {
			v.paused++
		}
		v.lag = max(v.lag, s.Pace.Lag)
		v.atTip = v.atTip && s.is.atTip
		switch {
		case s.Pace.RateKnown:
			known, rate = true, rate+s.Pace.Rate
		case s.is.read && !s.is.foreign:
			missing = true
		}
		if s.Pace.HasRoom && (!v.hasRoom || s.Pace.Headroom < v.headroom) {
			v.headroom, v.hasRoom = s.Pace.Headroom, true
		}
	}
	if known && !missing { // part of it would be taken for all
		v.rate = rate
	}
	if !in.Store.AwaySince.IsZero() {
		v.storeAway = max(in.Now.Sub(in.Store.AwaySince), time.Second)
	}
	return v
}

// merged is what the process that is asked knows, put over what it saw in the
// store.
type merged struct {
	in      *Input
	origin  *gerritstream.Origin
	reports []gerritstream.Report // by process; the asked one's is as of now
	ids     map[gerritstream.ShardID]bool
	hosts   map[string]string // of processes that say where they run
	onHost  map[string]int    // how many processes run there
}

func (in *Input) merge() *merged {
	m := &merged{in: in, origin: in.Store.Inspection.Origin, ids: map[gerritstream.ShardID]bool{},
		hosts: map[string]string{}, onHost: map[string]int{}}
	if in.Process.Origin != nil && (m.origin == nil || in.Process.Origin.Epoch >= m.origin.Epoch) {
		m.origin = in.Process.Origin
	}
	for id, s := range in.Store.Inspection.Shards {
		if s.Position != nil || s.Leader != "" { // others were led once, before a recreation or a prune
			m.ids[id] = true
		}
	}
	m.reports = slices.DeleteFunc(slices.Clone(in.Store.Inspection.Reports), func(r gerritstream.Report) bool {
		return r.Process == in.Process.Process
	})
	if in.Process.Process != "" {
		m.reports = append(m.reports, gerritstream.Report{Process: in.Process.Process, At: in.Now, Status: in.Process})
	}
	slices.SortFunc(m.reports, func(a, b gerritstream.Report) int { return cmp.Compare(a.Process, b.Process) })
	for i := range m.reports {
		for j := range m.reports[i].Status.Shards {
			m.ids[m.reports[i].Status.Shards[j].Shard] = true
		}
		for _, member := range m.reports[i].Status.Members {
			m.hosts[member.Process] = member.Host
		}
	}
	for i := range m.reports {
		m.onHost[m.host(m.reports[i].Process, false)]++
	}
	return m
}
