package trouble

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Trouble is something wrong, with a shard, a process or the whole (Of is then
// empty), in words.
type Trouble struct {
	Of   []string // whose it is
	Text string   // what the first of them says, in one line
}

// String names some of those whose it is, how many there are, and the text.
func (t Trouble) String() string {
	if len(t.Of) == 0 {
		return t.Text
	}
	return SomeOf(t.Of) + ": " + t.Text
}

// trouble.Group joins troubles of one cause, see trouble.Cause. They keep the order
// in which the causes come first; whose they are is sorted. One of the whole
// covers those of its parts.
func Group(all []Trouble) []Trouble {
	var groups []Trouble
	at := map[string]int{}
	for _, t := range all {
		cause := Cause(t.Text)
		i, known := at[cause]
		if !known {
			i = len(groups)
			at[cause] = i
			groups = append(groups, Trouble{Of: t.Of, Text: OneLine(t.Text)})
			continue
		}
		if len(t.Of) == 0 || len(groups[i].Of) == 0 {
			groups[i].Of = nil
			continue
		}
		groups[i].Of = slices.Concat(groups[i].Of, t.Of)
	}
	for i := range groups {
		groups[i].Of = slices.Sorted(slices.Values(groups[i].Of))
		groups[i].Of = slices.Compact(groups[i].Of)
	}
	return groups
}

// Of returns what holds this process up, or the shards it leads, a cause
// each. Standing by is no trouble: such a shard is read elsewhere.
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

// someNames is how many names stand for all.
const someNames = 3

// SomeOf names a few, and says how many more there are.
func SomeOf(names []string) string {
	if len(names) <= someNames+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:someNames], ", "), len(names)-someNames)
}

// OneLine puts a text of several lines on one.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// maxCause bounds a cause, in bytes.
const maxCause = 200

// trouble.Cause reduces the text of an error to what its kind have in common: each
// word with a digit in it (a shard, a sequence number, an address, the id of a
// request, a duration) becomes "#". It is for grouping, not for reading.
func Cause(text string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(text, betweenWords) {
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

// betweenWords reports whether a character ends a word. What addresses, paths,
// ids and times are made of does not.
func betweenWords(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	case strings.ContainsRune("-_.:/+%@=[]", r):
		return false
	}
	return r < 0x80
}

// DeadLetterBurst describes dead letters, at a moment of the clock that dates
// them, that suggest a producer of records of the wrong kind: at least 10, one
// in 10 records, and one in the last 30 minutes. "": there is no such burst.
func DeadLetterBurst(d *gerritstream.DeadRate, now time.Time) string {
	if d == nil || d.Dead < 10 || d.Dead*10 < d.Records || now.Sub(d.Last) >= 30*time.Minute {
		return ""
	}
	return fmt.Sprintf("%d of the last %d records became dead letters: %s: %s", d.Dead, d.Records, d.Reason, d.Detail)
}
