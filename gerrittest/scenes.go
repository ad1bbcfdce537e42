package gerrittest

import (
	"fmt"

	"github.com/gerritstream/gerritstream/gerrit"
)

// scene is something that happens on the server, and the records that tell of
// it.
type scene func(w *world) []Record

// weighted is a scene and how often it happens, compared with others.
type weighted struct {
	weight int
	scene  scene
}

// scenes are all that may happen. The weights make up a busy server's day:
// mostly robots that comment, then people.
var scenes = []weighted{
	{330, build},
	{170, review},
	{190, upload},
	{160, notes},
	{70, push},
	{70, merge},
	{12, replicate},
	{8, fetch},
	{6, onChange("change-abandoned", "ABANDONED", func(w *world, c *change) object {
		return object{{"abandoner", w.person()}, {"reason", w.sentence(5)}, {"patchSet", w.patchSetPart(c, false)}}
	})},
	{3, onChange("change-restored", "NEW", func(w *world, c *change) object {
		return object{{"restorer", w.person()}, {"reason", w.sentence(5)}, {"patchSet", w.patchSetPart(c, false)}}
	})},
	{2, changeDeleted},
	{14, onChange("reviewer-added", "NEW", func(w *world, c *change) object {
		return object{{"reviewer", w.person()}, {"adder", w.person()}, {"patchSet", w.patchSetPart(c, false)}}
	})},
	{4, onChange("reviewer-deleted", "NEW", withVotes)},
	{4, onChange("vote-deleted", "NEW", withVotes)},
	{6, onChange("topic-changed", "NEW", func(w *world, _ *change) object {
		return object{{"changer", w.person()}, {"oldTopic", pick(w.rng, words)}}
	})},
	{6, onChange("hashtags-changed", "NEW", func(w *world, _ *change) object {
		return object{{"editor", w.person()}, {"added", []string{"gate"}}, {"removed", []string{}}, {"hashtags", []string{"gate", "q1"}}}
	})},
	{2, onChange("custom-keyed-values-changed", "NEW", func(w *world, _ *change) object {
		values := object{{"ticket", fmt.Sprintf("WID-%d", w.rng.IntN(1000))}}
		return object{{"editor", w.person()}, {"added", values}, {"removed", []string{}}, {"customKeyedValues", values}}
	})},
	{8, onChange("wip-state-changed", "NEW", changed)},
	{3, onChange("private-state-changed", "NEW", changed)},
	{6, onChange("rerun-check", "NEW", func(w *world, c *change) object {
		return object{{"rerunner", w.person()}, {"patchSet", w.patchSetPart(c, false)}}
	})},
	{6, batch},
	{1, projectCreated},
	{1, headUpdated},
	{10, cacheEviction},
	{5, otherPlugin},
}

// sceneWeights is the sum of all weights.
func sceneWeights() int {
	sum := 0
	for _, w := range scenes {
		sum += w.weight
	}
	return sum
}

// pluginType is a type that no program but its plugin knows.
const pluginType = "example-scan-finished"

// Types returns every type that a Generator makes: the known ones and one of an
// unknown plugin.
func Types() []string { return append(gerrit.Types(), pluginType) }

// upload: a new change or another patch set moves two refs.
func upload(w *world) []Record {
	c := w.change()
	if w.rng.IntN(3) == 0 {
		c = w.newChange()
	} else {
		c.upload(w)
	}
	created := w.changeEvent("patchset-created", "NEW", c, object{{"uploader", c.owner}, {"patchSet", w.patchSetPart(c, true)}})
	return []Record{
		w.queued(w.refUpdated(c.project, patchSetRef(c), c.owner), c),
		w.meta(c, c.owner),
		w.queued(created, c),
	}
}

func build(w *world) []Record {
	c := w.change()
	return w.commented(c, pick(w.rng, robots), w.buildReport(c))
}

func review(w *world) []Record {
	c := w.change()
	return w.commented(c, w.person(), w.comment(c))
}

// commented: a comment is kept in the change's notes, which moves their ref.
func (w *world) commented(c *change, by object, text string) []Record {
	extras := object{{"author", by}, {"approvals", w.approvals()}, {"comment", text}}
	if w.rng.IntN(3) == 0 {
		said := []object{{{"message", w.sentence(6)}}}
		extras = append(extras, member{"patchSetComments", object{{"/PATCHSET_LEVEL", said}}})
	}
	extras = append(extras, member{"patchSet", w.patchSetPart(c, false)})
	return []Record{w.meta(c, by), w.queued(w.changeEvent("comment-added", "NEW", c, extras), c)}
}

// notes: attention sets, drafts that were published and the like move a
// change's notes and tell nothing else.
func notes(w *world) []Record { return []Record{w.meta(w.change(), w.person())} }

// push: a ref is written past review.
func push(w *world) []Record {
	by := pick(w.rng, robots)
	ref := pick(w.rng, []string{"refs/heads/main", "refs/meta/config", "refs/heads/periodic", fmt.Sprintf("refs/tags/v%d", w.rng.IntN(1000))})
	return []Record{w.queued(w.refUpdated(pick(w.rng, projects), ref, by), nil)}
}

func merge(w *world) []Record {
	c, by := w.change(), pick(w.rng, robots)
	extras := object{{"submitter", by}, {"newRev", c.revision}, {"patchSet", w.patchSetPart(c, false)}}
	return []Record{
		w.queued(w.refUpdated(c.project, fullName(c.branch), by), c),
		w.meta(c, by),
		w.queued(w.changeEvent("change-merged", "MERGED", c, extras), c),
	}
}

// onChange returns the scene of an event about a change, behind that of its
// notes.
func onChange(eventType, status string, extras func(*world, *change) object) scene {
	return func(w *world) []Record {
		c := w.change()
		return []Record{w.meta(c, c.owner), w.queued(w.changeEvent(eventType, status, c, extras(w, c)), c)}
	}
}

func withVotes(w *world, c *change) object {
	return object{
		{"reviewer", w.person()}, {"remover", w.person()}, {"approvals", w.approvals()}, {"comment", "Removed Code-Review+1"},
		{"patchSet", w.patchSetPart(c, false)},
	}
}

func changed(w *world, c *change) object {
	return object{{"changer", w.person()}, {"patchSet", w.patchSetPart(c, false)}}
}

// changeDeleted: the notes are gone, so that no ref of theirs moves.
func changeDeleted(w *world) []Record {
	c := w.change()
	return []Record{w.queued(w.changeEvent("change-deleted", "NEW", c, object{{"deleter", w.person()}}), c)}
}

func projectCreated(w *world) []Record {
	w.projects++
	o := object{{"projectName", fmt.Sprintf("example/new/project-%d", w.projects)}, {"headName", "refs/heads/main"}}
	return []Record{w.queued(append(o, w.tail("project-created")...), nil)}
}

func headUpdated(w *world) []Record {
	o := object{{"projectName", pick(w.rng, projects)}, {"oldHead", "refs/heads/master"}, {"newHead", "refs/heads/main"}}
	return []Record{w.queued(append(o, w.tail("project-head-updated")...), nil)}
}

func otherPlugin(w *world) []Record {
	o := object{{"project", pick(w.rng, projects)}, {"findings", w.rng.IntN(9)}, {"score", raw("0.97")}, {"rules", object{}}}
	return []Record{w.queued(append(o, w.tail(pluginType)...), nil)}
}
