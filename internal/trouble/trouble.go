// Package trouble puts what is wrong into words for people: one line for each
// cause, whatever the number of shards, processes and requests it concerns.
package trouble

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Trouble is something wrong, with shards, with processes, or as a whole.
type Trouble struct {
	Of   []string // the shards or processes; empty: the whole
	Text string   // of the first of them, in one line
}

// String names some of the shards or processes, their number, and the text.
func (t Trouble) String() string {
	if len(t.Of) == 0 {
		return t.Text
	}
	return SomeOf(t.Of) + ": " + t.Text
}

// Group joins troubles of one Cause, in the order in which the causes first
// appear. A trouble of the whole covers those of its parts.
func Group(all []Trouble) []Trouble {
	var groups []Trouble
	at := map[string]int{}
	for _, t := range all {
		cause := Cause(t.Text)
		i, known := at[cause]
		switch {
		case !known:
			at[cause] = len(groups)
			groups = append(groups, Trouble{Of: t.Of, Text: OneLine(t.Text)})
		case len(t.Of) == 0 || len(groups[i].Of) == 0:
			groups[i].Of = nil
		default:
			groups[i].Of = slices.Concat(groups[i].Of, t.Of)
		}
	}
	for i := range groups {
		groups[i].Of = slices.Compact(slices.Sorted(slices.Values(groups[i].Of)))
	}
	return groups
}

// Of returns what stalls this process, or the shards it leads, one for each
// cause. Standing by is no trouble: another process reads the shard.
func Of(s *gerritstream.Status) []Trouble {
	var all []Trouble
	if s.Trouble != "" {
		all = append(all, Trouble{Text: s.Trouble})
	}
	for i := range s.Shards {
		shard := &s.Shards[i]
		leads := shard.State == gerritstream.StateReading || shard.State == gerritstream.StateHalted
		if leads && shard.Trouble != "" {
			all = append(all, Trouble{Of: []string{string(shard.Shard)}, Text: shard.Trouble})
		}
	}
	return Group(all)
}

// SomeOf names a few, and how many more there are.
func SomeOf(names []string) string {
	const few = 3
	if len(names) <= few+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// OneLine puts a text of several lines on one.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

const maxCause = 200 // bytes

// Cause reduces the text of an error to what errors of its kind have in common:
// each word with a digit in it (a shard, a sequence number, an address, the ID
// of a request, a duration) becomes "#". It is for grouping, not for reading.
func Cause(text string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(text, endsWord) {
		if strings.ContainsAny(word, "0123456789") {
			word = "#"
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(word)
		if b.Len() >= maxCause {
			break
		}
	}
	return b.String()[:min(b.Len(), maxCause)]
}

// endsWord reports whether a character ends a word. The characters of
// addresses, paths, IDs and times do not.
func endsWord(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	case strings.ContainsRune("-_.:/+%@=[]", r):
		return false
	}
	return r < 0x80
}

// DeadLetterBurst describes dead letters that suggest a producer of records of
// the wrong kind: at least 10, one in 10 records, and one in the 30 minutes
// before now, by the clock that dates them. "": there is no such burst.
func DeadLetterBurst(d *gerritstream.DeadRate, now time.Time) string {
	if d == nil || d.Dead < 10 || d.Dead*10 < d.Records || now.Sub(d.Last) >= 30*time.Minute {
		return ""
	}
	return fmt.Sprintf("%d of the last %d records became dead letters: %s: %s", d.Dead, d.Records, d.Reason, d.Detail)
}
