package gerrittest

import (
	"fmt"

	"github.com/gerritstream/gerritstream/gerrit"
)

// scene is something that happens on the server; it returns the records of it.
type scene func(w *world) []Record

// weighted is a scene and its relative frequency.
type weighted struct {
	weight int
	scene  scene
}

// scenes are all scenes. The weights are those of a busy server: mostly
// comments of robots, then people.
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
		return object{
			{"editor", w.person()}, {"added", []string{"gate"}}, {"removed", []string{}},
			{"hashtags", []string{"gate", "q1"}},
		}
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

// pluginType is the event type of an unknown plugin.
const pluginType = "example-scan-finished"

// Types returns every type that a Generator generates: the known ones and one
// of an unknown plugin.
func Types() []string { return append(gerrit.Types(), pluginType) }

// upload: a new change or another patch set updates two refs.
func upload(w *world) []Record {
	c := w.change()
	if w.rng.IntN(3) == 0 {
		c = w.newChange()
	} else {
		c.upload(w)
	}
	extras := object{{"uploader", c.owner}, {"patchSet", w.patchSetPart(c, true)}}
	created := w.changeEvent("patchset-created", "NEW", c, extras)
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

// commented: a comment is kept in the change's notes, which updates their ref.
func (w *world) commented(c *change, by object, text string) []Record {
	extras := object{{"author", by}, {"approvals", w.approvals()}, {"comment", text}}
	if w.rng.IntN(3) == 0 {
		comments := []object{{{"message", w.sentence(6)}}}
		extras = append(extras, member{"patchSetComments", object{{"/PATCHSET_LEVEL", comments}}})
	}
	extras = append(extras, member{"patchSet", w.patchSetPart(c, false)})
	return []Record{w.meta(c, by), w.queued(w.changeEvent("comment-added", "NEW", c, extras), c)}
}

// notes: attention sets, published drafts and the like update only a change's
// notes.
func notes(w *world) []Record { return []Record{w.meta(w.change(), w.person())} }

// push: a ref is updated without review.
func push(w *world) []Record {
	by := pick(w.rng, robots)
	tag := fmt.Sprintf("refs/tags/v%d", w.rng.IntN(1000))
	ref := pick(w.rng, []string{"refs/heads/main", "refs/meta/config", "refs/heads/periodic", tag})
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

// onChange returns the scene of an event about a change, after one about its
// notes.
func onChange(eventType, status string, extras func(*world, *change) object) scene {
	return func(w *world) []Record {
		c := w.change()
		return []Record{w.meta(c, c.owner), w.queued(w.changeEvent(eventType, status, c, extras(w, c)), c)}
	}
}

func withVotes(w *world, c *change) object {
	return object{
		{"reviewer", w.person()}, {"remover", w.person()}, {"approvals", w.approvals()},
		{"comment", "Removed Code-Review+1"}, {"patchSet", w.patchSetPart(c, false)},
	}
}

func changed(w *world, c *change) object {
	return object{{"changer", w.person()}, {"patchSet", w.patchSetPart(c, false)}}
}

// changeDeleted: the notes are gone, so that their ref is not updated.
func changeDeleted(w *world) []Record {
	c := w.change()
	return []Record{w.queued(w.changeEvent("change-deleted", "NEW", c, object{{"deleter", w.person()}}), c)}
}

func projectCreated(w *world) []Record {
	w.projects++
	o := object{{"projectName", fmt.Sprintf("example/new/project-%d", w.projects)}, {"headName", "refs/heads/main"}}
	return []Record{w.queued(w.end(o, "project-created"), nil)}
}

func headUpdated(w *world) []Record {
	project := pick(w.rng, projects)
	o := object{{"projectName", project}, {"oldHead", "refs/heads/master"}, {"newHead", "refs/heads/main"}}
	return []Record{w.queued(w.end(o, "project-head-updated"), nil)}
}

func otherPlugin(w *world) []Record {
	project := pick(w.rng, projects)
	o := object{{"project", project}, {"findings", w.rng.IntN(9)}, {"score", raw("0.97")}, {"rules", object{}}}
	return []Record{w.queued(w.end(o, pluginType), nil)}
}

// Nothing of the next scenes reaches a queue for Zuul.

// replicate: a ref is pushed to two mirrors.
func replicate(w *world) []Record {
	project, ref := pick(w.rng, projects), fullName(pick(w.rng, branches))
	var records []Record
	nodes := []string{"mirror-1.example.com", "mirror-2.example.com"}
	for _, node := range nodes {
		records = append(records, w.dropped(w.end(target(project, ref, node), "ref-replication-scheduled")))
	}
	for _, node := range nodes {
		o := append(target(project, ref, node), object{{"status", "succeeded"}, {"refStatus", "OK"}}...)
		records = append(records, w.dropped(w.end(o, "ref-replicated")))
	}
	done := object{{"project", project}, {"ref", ref}, {"nodesCount", len(nodes)}}
	return append(records, w.dropped(w.end(done, "ref-replication-done")))
}

func target(project, ref, node string) object {
	return object{
		{"project", project}, {"ref", ref}, {"targetUri", "ssh://" + node + "/" + project + ".git"},
		{"targetNode", node},
	}
}

// fetch: a mirror fetches a ref.
func fetch(w *world) []Record {
	project := pick(w.rng, projects)
	uri := "https://review.example.com/" + project
	o := object{{"project", project}, {"ref", fullName(pick(w.rng, branches))}, {"targetUri", uri}}
	return []Record{
		w.dropped(w.end(o.with("status", "SCHEDULED"), "fetch-ref-replication-scheduled")),
		w.dropped(w.end(o.with("status", "SUCCEEDED"), "fetch-ref-replicated")),
	}
}

func cacheEviction(w *world) []Record {
	cache := pick(w.rng, []string{"project_list", "groups", "accounts"})
	o := object{{"pluginName", "gerrit"}, {"cacheName", cache}, {"key", object{}}}
	return []Record{w.dropped(w.end(o, "cache-eviction"))}
}

const (
	largeEvery = 20   // one batch of so many is large, not the first ones
	largeBatch = 5000 // refs of the largest batch: nearly the 1 MiB that a record may have
)

// batch: a script pushes tags at once.
func batch(w *world) []Record {
	w.batches++
	count := 2 + w.rng.IntN(60)
	if w.batches%largeEvery == 0 {
		count = largeBatch/2 + w.rng.IntN(largeBatch/2)
	}
	project := pick(w.rng, projects)
	updates := make([]object, count)
	for i := range updates {
		updates[i] = w.refUpdatePart(project, fmt.Sprintf("refs/tags/%d.%d", w.batches, i))
	}
	o := object{{"submitter", w.person()}, {"refUpdates", updates}}
	return []Record{w.dropped(w.end(o, "batch-ref-updated"))}
}
