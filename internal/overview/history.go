package overview

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

// An hour is kept.
const (
	Every  = 10 * time.Second
	Length = 360 // samples
)

// Unknown stands for a number that is not known.
const Unknown = -1.0

// Sample is the group's numbers at one moment. Each may be Unknown.
type Sample struct {
	Rate     float64 // events queued a second
	Delay    float64 // seconds: of 99 in 100 events of the slowest process
	Queue    float64
	Headroom float64 // seconds
	Dead     float64
	Backlog  float64
}

// History is the last hour of a group, as one process saw it. Several
// goroutines may use it at once.
type History struct {
	mu      sync.Mutex
	samples []Sample                               // under mu; grows to Length, oldest first
	shards  map[gerritstream.ShardID]*shardHistory // under mu
	seen    map[string]*Gone                       // under mu: processes, by name
}

// shardHistory is the last hour of one shard.
type shardHistory struct {
	rates   []float32 // grows to Length, oldest first
	process string    // whose count it is
	count   uint64
	at      time.Time // of the count, by that process' clock
	rate    float64
	known   bool
	sampled bool // in the sample that is being taken
}

// Gone is a process that does not report any more.
type Gone struct {
	Name, Host string
	Began      time.Time
	Last       time.Time // when it was last seen, by the local clock
}

// NewHistory returns an empty History.
func NewHistory() *History {
	return &History{shards: map[gerritstream.ShardID]*shardHistory{}, seen: map[string]*Gone{}}
}

// Add takes a sample, which is due every Every. delay is the p99 of the asked
// process since the last one, or Unknown.
func (h *History) Add(in *Input, delay float64) {
	m := in.merge()
	h.count(m)
	v := New(in)
	s := Sample{Rate: v.sum.rate, Delay: m.delay(delay), Queue: Unknown, Headroom: Unknown, Dead: Unknown,
		Backlog: Unknown}
	if v.sum.hasRoom {
		s.Headroom = max(0, v.sum.headroom.Seconds())
	}
	if !in.Store.At.IsZero() && in.Store.AwaySince.IsZero() {
		s.Queue, s.Dead, s.Backlog = float64(in.Store.Inspection.Queue), float64(in.Store.Inspection.DeadLetters), 0
		for i := range in.Consumers {
			s.Backlog += float64(in.Consumers[i].Pending)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.samples = push(h.samples, s)
	for id, shard := range h.shards {
		rate := float32(Unknown)
		if shard.sampled && shard.known {
			rate = float32(shard.rate)
		}
		if shard.rates = push(shard.rates, rate); !shard.sampled && isBlank(shard.rates) {
			delete(h.shards, id)
		}
		shard.sampled = false
	}
}

func isBlank(rates []float32) bool {
	return !slices.ContainsFunc(rates, func(r float32) bool { return r >= 0 })
}

// push appends a value, without the oldest if there are too many.
func push[T any](values []T, v T) []T {
	if len(values) == Length {
		copy(values, values[1:])
		values = values[:Length-1]
	}
	return append(values, v)
}

// count works out how many events a second each shard queues, from what its
// leader has counted since its last report.
func (h *History) count(m *merged) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range m.reports {
		r := &m.reports[i]
		h.note(&Gone{r.Process, m.host(r.Process, false), r.Status.Began, m.in.Now}, m.in)
		for j := range r.Status.Shards {
			s := &r.Status.Shards[j]
			if !isLed(s.State) {
				continue
			}
			of := h.shards[s.Shard]
			if of == nil {
				of = &shardHistory{}
				h.shards[s.Shard] = of
			}
			of.sampled = true
			passed := r.At.Sub(of.at)
			switch {
			case of.process != r.Process || s.Counts.Queued < of.count:
				of.known = false
			case passed <= 0: // no news; it is believed for a while
				continue
			default:
				of.rate, of.known = float64(s.Counts.Queued-of.count)/passed.Seconds(), true
			}
			of.process, of.count, of.at = r.Process, s.Counts.Queued, r.At
		}
	}
}

// note remembers that a process was seen, unless what is known of the store is
// old.
func (h *History) note(process *Gone, in *Input) {
	if process.Name != in.Process.Process && !in.Store.AwaySince.IsZero() {
		return
	}
	h.seen[process.Name] = process
	for name, g := range h.seen {
		if in.Now.Sub(g.Last) > Every*Length {
			delete(h.seen, name)
		}
	}
}

// gone returns the processes that were seen in the last hour and do not run,
// unless another began on their host since: they were restarted.
func (h *History) gone(running map[string]bool, now time.Time) (gone []Gone) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, g := range h.seen {
		restarted := false
		for other := range running {
			o := h.seen[other]
			restarted = restarted || o != nil && o.Host == g.Host && o.Began.After(g.Last.Add(-time.Minute))
		}
		if !running[name] && !restarted && now.Sub(g.Last) <= Every*Length {
			gone = append(gone, *g)
		}
	}
	slices.SortFunc(gone, func(a, b Gone) int { return cmp.Compare(a.Name, b.Name) })
	return gone
}

// rates returns a shard's rates of the last hour.
func (h *History) rates(id gerritstream.ShardID) []float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.shards[id]
	if s == nil {
		return nil
	}
	rates := make([]float64, len(s.rates))
	for i, r := range s.rates {
		rates[i] = float64(r)
	}
	return rates
}

// rate returns how many events a second a shard queues.
func (h *History) rate(id gerritstream.ShardID) (rate float64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.shards[id]; s != nil && s.known {
		return s.rate, true
	}
	return 0, false
}

// past returns one of the numbers of each sample.
func (h *History) past(of func(*Sample) float64) []float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	values := make([]float64, len(h.samples))
	for i := range h.samples {
		values[i] = of(&h.samples[i])
	}
	return values
}

// delay returns the greatest delay of the last five minutes, or Unknown.
func (h *History) delay() float64 {
	if h == nil {
		return Unknown
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d := Unknown
	for _, s := range h.samples[max(0, len(h.samples)-30):] {
		d = max(d, s.Delay)
	}
	return d
}
