package overview

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// sentence says in one sentence how the group is doing.
func (v *View) sentence() string {
	text := v.reading()
	if v.losing() {
		text += ", but records may have been lost"
	}
	return text + v.untilLoss() + "."
}

// reading is the sentence's first half.
func (v *View) reading() string {
	if v.sum.storeAway > 0 {
		return fmt.Sprintf("%s has not answered this process for %s, so it can queue nothing",
			v.storeName(), Span(v.sum.storeAway))
	}
	switch {
	case len(v.Shards) == 1 && v.sum.ended == 1:
		return "The shard has ended and was read to its end"
	case len(v.Shards) > 0 && v.sum.ended == len(v.Shards):
		return allShards(v.sum.ended) + " have ended and were read to their ends"
	case v.sum.open == 0 && v.sum.processes == 0:
		return "Nothing has been read yet"
	case v.sum.open == 0 && v.Level == Trouble:
		return "No shard is read: the stream cannot be listed"
	case v.sum.open == 0:
		return "Starting: the stream has not been listed yet"
	case v.sum.paused == v.sum.open && v.sum.open == 1:
		return "The shard is paused" + v.behind()
	case v.sum.paused == v.sum.open:
		return allShards(v.sum.open) + " are paused" + v.behind()
	case v.sum.read == 0 && v.sum.open == 1:
		return "The shard is not read" + v.because()
	case v.sum.read == 0 && v.sum.open == 2:
		return "Neither shard is read" + v.because()
	case v.sum.read == 0:
		return fmt.Sprintf("None of the %s is read", plural(v.sum.open, "shard")) + v.paused() + v.because()
	}
	text := fmt.Sprintf("%d of %s %s read", v.sum.read, plural(v.sum.open, "shard"), verb(v.sum.read, "are"))
	switch {
	case v.sum.waits == v.sum.read && v.sum.read == v.sum.open && v.sum.open > 1:
		return allShards(v.sum.open) + " wait" + v.behind()
	case v.sum.waits == v.sum.open:
		return "The shard waits" + v.behind()
	case v.sum.waits == v.sum.read && v.sum.waits > 0:
		return fmt.Sprintf("%d of %s %s%s, and the others are not read", v.sum.waits, plural(v.sum.open, "shard"),
			verb(v.sum.waits, "wait"), v.behind())
	case v.sum.waits > 0:
		text = fmt.Sprintf("%d of %s %s read and %d %s", v.sum.read-v.sum.waits, plural(v.sum.open, "shard"),
			verb(v.sum.read-v.sum.waits, "are"), v.sum.waits, verb(v.sum.waits, "wait"))
	case v.sum.read == v.sum.open && v.sum.open == 1:
		text = "The shard is read"
	case v.sum.read == v.sum.open:
		text = allShards(v.sum.open) + " are read"
	}
	return text + v.paused() + v.behind() + v.events()
}

// paused says how many shards are paused.
func (v *View) paused() string {
	if v.sum.paused == 0 {
		return ""
	}
	return fmt.Sprintf(", %d %s paused", v.sum.paused, verb(v.sum.paused, "are"))
}

// because says why nothing is read, if that is plain.
func (v *View) because() string {
	if v.sum.processes == 0 {
		return ": no process runs"
	}
	return ""
}

// allShards names two or more.
func allShards(n int) string {
	if n == 2 {
		return "Both shards"
	}
	return "All " + plural(n, "shard")
}

// losing reports whether records may have been lost lately.
func (v *View) losing() bool {
	return slices.ContainsFunc(v.Losses, func(l Loss) bool { return v.From.Now.Sub(l.Until) < lossIsNew })
}

// storeName is what people call the store.
func (v *View) storeName() string {
	if v.Setup.isZooKeeper() {
		return "ZooKeeper"
	}
	return "The store"
}

func (v *View) behind() string {
	switch {
	case v.sum.lag > 0:
		return ", " + Span(v.sum.lag) + " behind"
	case v.sum.atTip:
		return ", at the tip"
	}
	return ""
}

func (v *View) events() string {
	switch {
	case v.sum.rate < 0:
		return ""
	case v.sum.rate == 0:
		return ", no event lately"
	}
	return ", " + Number(v.sum.rate) + " events/s"
}

// untilLoss is the sentence's second half.
func (v *View) untilLoss() string {
	switch {
	case !v.sum.hasRoom:
		return ""
	case v.sum.headroom <= 0:
		return "; what was not read is being lost"
	}
	what := " until data would be lost"
	if v.losing() {
		what = " until more would be lost"
	}
	return "; " + Span(v.sum.headroom.Truncate(time.Second)) + what
}

// Short is the level in words, for what must not change with each number: what
// a screen reader says, and the window's title.
func (v *View) Short() string {
	if len(v.Causes) == 0 {
		return "all is well"
	}
	var kinds []string
	for i := range v.Causes {
		kinds = append(kinds, v.Causes[i].Name)
	}
	return v.Level.String() + ": " + strings.Join(kinds, ", ")
}
