package gerrit

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
)

// Entry is one element of a list of a FilterConfig.
type Entry struct {
	Field string // "types", "projects" or "refs"
	Text  string
}

// Doubt is an entry of FilterConfig.Types that keeps nothing of what Gerrit and
// its known plugins write. It may be right: a plugin of one's own has types of
// its own.
type Doubt struct {
	Entry   Entry
	Dropped bool // there are such types, and the preset or Drop drops all of them; otherwise there are none
}

// Doubts returns the entries of Types that match no known type, or only types
// that are dropped before. Those that cannot be understood are left to
// NewFilter.
func (c FilterConfig) Doubts() []Doubt {
	f, err := NewFilter(FilterConfig{Preset: c.Preset, Drop: c.Drop, Replication: c.Replication})
	if err != nil {
		return nil
	}
	var doubts []Doubt
	for _, text := range c.Types {
		p := patterns{names: map[string]bool{}}
		if p.add(text) != nil {
			continue
		}
		known, kept := false, false
		for _, t := range knownTypes {
			if p.match([]byte(t)) {
				known, kept = true, kept || !f.drop[t]
			}
		}
		if !kept {
			doubts = append(doubts, Doubt{Entry: Entry{"types", text}, Dropped: known})
		}
	}
	return doubts
}

// Usage finds out which entries of a filter match nothing that comes. It may be
// used by several goroutines at once.
type Usage struct {
	done atomic.Bool

	mu     sync.Mutex // guards what follows
	left   int        // events that are still looked at
	unused [3]patterns
}

// usageFields are the lists that a Usage looks at, in its order.
var usageFields = [3]string{"types", "projects", "refs"}

// Usage returns one that looks at a number of events, or nil if the filter
// keeps everything that its preset does not drop.
func (f *Filter) Usage(events int) *Usage {
	if f.types == nil && f.projects == nil && f.refs == nil {
		return nil
	}
	u := &Usage{left: events}
	for i, p := range []*patterns{f.types, f.projects, f.refs} {
		u.unused[i] = p.clone()
	}
	return u
}

// See looks at an event. With the last one that is looked at it returns the
// entries that none of them matched, by list and text; otherwise nothing. It
// costs next to nothing afterwards.
func (u *Usage) See(e *Event) []Entry {
	if u.done.Load() {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left <= 0 {
		return nil
	}
	for i, value := range [3][]byte{e.Type, e.Project, e.Ref} {
		if len(value) > 0 {
			u.unused[i].withoutMatches(value)
		}
	}
	if u.left--; u.left > 0 {
		return nil
	}
	u.done.Store(true)
	var entries []Entry
	for i := range u.unused {
		for _, text := range u.unused[i].texts() {
			entries = append(entries, Entry{usageFields[i], text})
		}
	}
	u.unused = [3]patterns{}
	return entries
}

// clone returns patterns that may be taken from. p may be nil.
func (p *patterns) clone() patterns {
	if p == nil {
		return patterns{}
	}
	return patterns{names: maps.Clone(p.names), beginnings: slices.Clone(p.beginnings), expressions: slices.Clone(p.expressions)}
}

// withoutMatches takes out the patterns that match.
func (p *patterns) withoutMatches(b []byte) {
	delete(p.names, string(b))
	p.beginnings = slices.DeleteFunc(p.beginnings, func(beginning []byte) bool { return bytes.HasPrefix(b, beginning) })
	p.expressions = slices.DeleteFunc(p.expressions, func(re *regexp.Regexp) bool { return re.Match(b) })
}

// texts returns the patterns as they were written, in order.
func (p *patterns) texts() []string {
	texts := slices.Collect(maps.Keys(p.names))
	for _, beginning := range p.beginnings {
		texts = append(texts, string(beginning)+"*")
	}
	for _, re := range p.expressions {
		texts = append(texts, re.String())
	}
	slices.Sort(texts)
	return texts
}
