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
		text += ", but records may be lost"
	}
	return text + v.untilLoss() + "."
}

// reading is the sentence's first half.
func (v *View) reading() string {
	if v.storeAway > 0 {
		return fmt.Sprintf("%s has not answered this process for %s: it can queue nothing", v.storeName(), Span(v.storeAway))
	}
	switch {
	case len(v.Shards) > 0 && v.ended == len(v.Shards):
		return "Each shard has ended and was read to its end"
	case v.open == 0 && v.Level == Trouble:
		return "No shard is read: the stream cannot be listed"
	case v.open == 0:
		return "Starting: the stream has not been listed yet"
	case v.read == 0 && v.open == 1:
		return "The shard is not read"
	case v.read == 0:
		return fmt.Sprintf("None of the %s is read", plural(v.open, "shard"))
	}
	text := fmt.Sprintf("%d of %s %s read", v.read, plural(v.open, "shard"), verb(v.read, "are"))
	switch {
	case v.waits == v.read && v.read == v.open && v.open > 1:
		return allShards(v.open) + " wait" + v.behind()
	case v.waits == v.open:
		return "The shard waits" + v.behind()
	case v.waits > 0:
		text = fmt.Sprintf("%d of %s %s read and %d %s", v.read-v.waits, plural(v.open, "shard"),
			verb(v.read-v.waits, "are"), v.waits, verb(v.waits, "wait"))
	case v.read == v.open && v.open == 1:
		text = "The shard is read"
	case v.read == v.open:
		text = allShards(v.open) + " are read"
	}
	return text + v.behind() + v.events()
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
	return slices.ContainsFunc(v.Losses, func(l Loss) bool { return v.Now.Sub(l.Until) < lossIsNew })
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
	case v.lag > 0:
		return ", " + Span(v.lag) + " behind"
	case v.atTip:
		return ", at the tip"
	}
	return ""
}

func (v *View) events() string {
	switch {
	case v.rate < 0:
		return ""
	case v.rate == 0:
		return ", no event lately"
	}
	return ", " + Number(v.rate) + " events/s"
}

// untilLoss is the sentence's second half.
func (v *View) untilLoss() string {
	switch {
	case !v.hasRoom:
		return ""
	case v.headroom <= 0:
		return "; what was not read is being lost"
	}
	what := " until data would be lost"
	if v.losing() {
		what = " until more would be"
	}
	return "; " + Span(v.headroom.Truncate(time.Second)) + what
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
