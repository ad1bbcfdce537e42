package gerritstream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
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
	return someOf(t.Of) + ": " + t.Text
}

// GroupTroubles joins troubles of one cause, see CauseOf. They keep the order
// in which the causes come first; whose they are is sorted. One of the whole
// covers those of its parts.
func GroupTroubles(all []Trouble) []Trouble {
	var groups []Trouble
	at := map[string]int{}
	for _, t := range all {
		cause := CauseOf(t.Text)
		i, known := at[cause]
		if !known {
			i = len(groups)
			at[cause] = i
			groups = append(groups, Trouble{Of: t.Of, Text: oneLine(t.Text)})
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

// Troubles returns what holds this process up, or the shards it leads, a cause
// each. Standing by is no trouble: such a shard is read elsewhere.
func (s *Status) Troubles() []Trouble {
	var all []Trouble
	if s.Trouble != "" {
		all = append(all, Trouble{Text: s.Trouble})
	}
	for i := range s.Shards {
		shard := &s.Shards[i]
		leads := shard.State == StateReading || shard.State == StateHalted
		if leads && shard.Trouble != "" {
			all = append(all, Trouble{Of: []string{string(shard.Shard)}, Text: shard.Trouble})
		}
	}
	return GroupTroubles(all)
}

// someNames is how many names stand for all.
const someNames = 3

// someOf names a few, and says how many more there are.
func someOf(names []string) string {
	if len(names) <= someNames+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:someNames], ", "), len(names)-someNames)
}

// oneLine puts a text of several lines on one.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// maxCause bounds a cause, in bytes.
const maxCause = 200

// CauseOf reduces the text of an error to what its kind have in common: each
// word with a digit in it (a shard, a sequence number, an address, the id of a
// request, a duration) becomes "#". It is for grouping, not for reading.
func CauseOf(text string) string {
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

const (
	lastsFor  = 30 * time.Second // trouble that may pass counts when it lasts so long
	lagGrowth = 30 * time.Second // or when the shard falls behind by so much more meanwhile
	calmAfter = 10 * time.Second // a lag that grows is not due to trouble that was not met for so long
	holdFades = time.Minute      // trouble of a shard that is led no more is then forgotten
)

// isGrave reports whether trouble does not pass by itself.
func isGrave(err error) bool {
	for _, grave := range []error{ErrDenied, ErrUnusable, ErrStreamNotFound, ErrNewerFormat} {
		if errors.Is(err, grave) {
			return true
		}
	}
	return false
}

// hold is trouble that a shard has met, or the process as a whole. A request
// that is throttled or fails now and then is normal life: it counts, for
// Status, once it lasts, once the shard falls behind with it, or if it is
// grave.
type hold struct {
	text  string        // the newest
	grave bool          // it will not pass by itself
	since time.Time     // of the first since the last progress; zero: there was progress
	last  time.Time     // when it was met last
	lag   time.Duration // how far behind the shard was as it began
}

// met notes trouble.
func (h *hold) met(text string, grave bool, behind time.Duration, now time.Time) {
	if h.since.IsZero() && now.Sub(h.last) >= calmAfter {
		h.lag = behind
	}
	if h.since.IsZero() {
		h.since = now
	}
	h.lag = min(h.lag, behind)
	h.text, h.grave, h.last = text, grave, now
}

// passed notes progress.
func (h *hold) passed() { h.since, h.grave = time.Time{}, false }

// counts reports whether it is to be shown.
func (h *hold) counts(behind time.Duration, now time.Time) bool {
	if h.since.IsZero() {
		return now.Sub(h.last) < calmAfter && behind-h.lag >= lagGrowth
	}
	return h.grave || now.Sub(h.since) >= lastsFor || behind-h.lag >= lagGrowth
}

// isRecent reports whether it was met not long ago, in this term or in one
// before.
func (h *hold) isRecent(now time.Time) bool { return now.Sub(h.last) < holdFades }
