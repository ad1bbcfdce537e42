package gerrittest

import (
	"bytes"
	"strings"

	"github.com/gerritstream/gerritstream/gerrit"
)

// badScenes are the kinds of bad records, at least one for each reason to
// refuse one: good events that something went wrong with, as happens in
// practice.
var badScenes = []scene{
	bad(gerrit.ReasonJSON, func(w *world, e object) []byte { // truncated by a full buffer
		data := string(appendJSON(nil, e))
		return []byte(clip(data, 1+w.rng.IntN(len(data)-1)))
	}),
	bad(gerrit.ReasonJSON, func(_ *world, e object) []byte { // two events in one record
		data := appendJSON(nil, e)
		return append(append(data, '\n'), data...)
	}),
	bad(gerrit.ReasonUTF8, func(_ *world, e object) []byte { // written by a JVM with a C locale
		return bytes.Replace(appendJSON(nil, e.with("comment", "Gr@n?")), []byte("@"), []byte{0xfc}, 1)
	}),
	badMember(gerrit.ReasonSurrogate, "comment", raw(`"looks good \ud83d"`)), // cut within a character
	badMember(gerrit.ReasonDepth, "tree", raw(strings.Repeat("[", 300)+strings.Repeat("]", 300))),
	badMember(gerrit.ReasonNumber, "score", raw("NaN")), // a mean of nothing
	badMember(gerrit.ReasonNumber, "score", raw("1e999")),
	badMember(gerrit.ReasonNumber, "score", raw(strings.Repeat("8", 4301))),
	bad(gerrit.ReasonShape, func(_ *world, e object) []byte { // a list of events
		return appendJSON(nil, []object{e})
	}),
	badMember(gerrit.ReasonShape, "change", raw("null")),
	badMember(gerrit.ReasonShape, "change", // as very old servers wrote it
		object{{"project", object{{"name", "example/widgets"}}}}),
	bad(gerrit.ReasonShape, func(_ *world, e object) []byte { // a revision for each parent: Zuul stops at it
		return appendJSON(nil, e.with("type", "change-merged").with("newRev", []string{"1", "2"}))
	}),
	badMember(gerrit.ReasonShape, "patchSetComments", // a comment without its list
		object{{"/PATCHSET_LEVEL", object{{"message", "recheck"}}}}),
	badMember(gerrit.ReasonShape, "ref", object{{"name", "refs/heads/main"}}), // a ref with its parts
	badMember(gerrit.ReasonShape, "approvals", object{{"Verified", 1}}),       // votes by label
	bad(gerrit.ReasonType, func(_ *world, e object) []byte {
		return appendJSON(nil, e.without("type"))
	}),
	badMember(gerrit.ReasonType, "type", 7), // an enumeration's ordinal instead of its name
	func(w *world) []Record { // a ref-updated that does not say which ref
		event := w.refUpdated(pick(w.rng, projects), "", w.person()).without("refUpdate")
		return []Record{w.bad(w.record(event, nil), gerrit.ReasonShape)}
	},
	func(w *world) []Record { // a branch's ref-updated that does not say which project
		project := pick(w.rng, projects)
		part := w.refUpdatePart(project, fullName(pick(w.rng, branches))).without("project")
		event := w.refUpdated(project, "", w.person()).with("refUpdate", part)
		return []Record{w.bad(w.record(event, nil), gerrit.ReasonShape)}
	},
}

// bad returns the scene of a comment that something goes wrong with.
func bad(reason gerrit.Reason, spoil func(*world, object) []byte) scene {
	return func(w *world) []Record {
		c := w.change()
		event := w.changeEvent("comment-added", "NEW", c, object{{"author", w.person()}, {"comment", w.sentence(6)}})
		r := w.bad(w.record(event, c), reason)
		r.Data = spoil(w, event)
		return []Record{r}
	}
}

// badMember returns the scene of a comment with a bad member.
func badMember(reason gerrit.Reason, name string, value any) scene {
	return bad(reason, func(_ *world, e object) []byte { return appendJSON(nil, e.with(name, value)) })
}

// bad makes a record one that must be refused.
func (w *world) bad(r Record, reason gerrit.Reason) Record {
	r.Want, r.Why = DeadLetter, string(reason)
	return r
}

// BadKinds returns the number of kinds of bad records. One of each is among the
// first records.
func BadKinds() int { return len(badScenes) }
