package gerrittest

import (
	"bytes"
	"strings"

	"github.com/gerritstream/gerritstream/gerrit"
)

// badScenes are the kinds of bad records, at least one for each reason to
// refuse one. Each is a good event that something went wrong with, as it does
// in the field.
var badScenes = []scene{
	bad(gerrit.ReasonJSON, func(w *world, e object) []byte { // cut by a full buffer
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
	bad(gerrit.ReasonSurrogate, func(_ *world, e object) []byte { // a comment cut in the middle of a character
		return appendJSON(nil, e.with("comment", raw(`"looks good \ud83d"`)))
	}),
	bad(gerrit.ReasonDepth, func(_ *world, e object) []byte {
		return appendJSON(nil, e.with("tree", raw(strings.Repeat("[", 300)+strings.Repeat("]", 300))))
	}),
	bad(gerrit.ReasonNumber, func(_ *world, e object) []byte { // a mean of nothing
		return appendJSON(nil, e.with("score", raw("NaN")))
	}),
	bad(gerrit.ReasonNumber, func(_ *world, e object) []byte {
		return appendJSON(nil, e.with("score", raw("1e999")))
	}),
	bad(gerrit.ReasonNumber, func(_ *world, e object) []byte {
		return appendJSON(nil, e.with("score", raw(strings.Repeat("8", 4301))))
	}),
	bad(gerrit.ReasonShape, func(_ *world, e object) []byte { // a list of events
		return appendJSON(nil, []object{e})
	}),
	bad(gerrit.ReasonShape, func(_ *world, e object) []byte {
		return appendJSON(nil, e.with("change", raw("null")))
	}),
	bad(gerrit.ReasonShape, func(_ *world, e object) []byte { // as very old servers wrote it
		return appendJSON(nil, e.with("change", object{{"project", object{{"name", "example/widgets"}}}}))
	}),
	bad(gerrit.ReasonShape, func(_ *world, e object) []byte { // a revision for each parent: Zuul stops at it
		return appendJSON(nil, e.with("type", "change-merged").with("newRev", []string{"1", "2"}))
	}),
	bad(gerrit.ReasonShape, func(_ *world, e object) []byte { // a comment without its list
		return appendJSON(nil, e.with("patchSetComments", object{{"/PATCHSET_LEVEL", object{{"message", "recheck"}}}}))
	}),
	bad(gerrit.ReasonShape, func(_ *world, e object) []byte { // a ref with its parts
		return appendJSON(nil, e.with("ref", object{{"name", "refs/heads/main"}}))
	}),
	bad(gerrit.ReasonShape, func(_ *world, e object) []byte { // votes by label
		return appendJSON(nil, e.with("approvals", object{{"Verified", 1}}))
	}),
	bad(gerrit.ReasonType, func(_ *world, e object) []byte {
		return appendJSON(nil, e.without("type"))
	}),
	bad(gerrit.ReasonType, func(_ *world, e object) []byte { // an enumeration's place instead of its name
		return appendJSON(nil, e.with("type", 7))
	}),
	badRefUpdated,
	badBranch,
}

// bad returns the scene of a comment that something goes wrong with.
func bad(reason gerrit.Reason, spoil func(*world, object) []byte) scene {
	return func(w *world) []Record {
		c := w.change()
		event := w.changeEvent("comment-added", "NEW", c, object{{"author", w.person()}, {"comment", w.sentence(6)}})
		r := w.record(event, c)
		r.Data, r.Want, r.Why = spoil(w, event), DeadLetter, string(reason)
		return []Record{r}
	}
}

// badRefUpdated is a ref-updated that does not say which ref.
func badRefUpdated(w *world) []Record {
	r := w.record(w.refUpdated(pick(w.rng, projects), "", w.person()).without("refUpdate"), nil)
	r.Want, r.Why = DeadLetter, string(gerrit.ReasonShape)
	return []Record{r}
}

// badBranch is a branch's ref-updated that does not say of which project.
func badBranch(w *world) []Record {
	project := pick(w.rng, projects)
	part := w.refUpdatePart(project, fullName(pick(w.rng, branches))).without("project")
	r := w.record(w.refUpdated(project, "", w.person()).with("refUpdate", part), nil)
	r.Want, r.Why = DeadLetter, string(gerrit.ReasonShape)
	return []Record{r}
}

// BadKinds returns how many kinds of bad records there are. One of each comes
// within the first records.
func BadKinds() int { return len(badScenes) }
