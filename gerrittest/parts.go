package gerrittest

import (
	"fmt"

	"github.com/gerritstream/gerritstream/gerrit"
)

// queued returns the record of an event that must be queued. c is the change
// that it is about; nil: none.
func (w *world) queued(event object, c *change) Record {
	r := w.record(event, c)
	r.Want = Queued
	return r
}

// record returns the record of an event.
func (w *world) record(event object, c *change) Record {
	r := Record{Data: appendJSON(nil, event), Type: event.text("type")}
	r.Key = w.key(event, r.Type, c)
	return r
}

// key returns the partition key: that of Gerrit's plugin, or one that spreads
// over the shards and keeps a change together.
func (w *world) key(event object, eventType string, c *change) string {
	switch {
	case !w.spread:
		return eventType
	case c != nil:
		return fmt.Sprintf("%s~%d", c.project, c.number)
	}
	for _, name := range []string{"project", "projectName"} {
		if project := event.text(name); project != "" {
			return project
		}
	}
	return fmt.Sprintf("%s-%d", eventType, w.rng.IntN(64))
}

// text returns a member if it is a string.
func (o object) text(name string) string {
	for _, m := range o {
		if s, ok := m.value.(string); ok && m.name == name {
			return s
		}
	}
	return ""
}

// meta returns the record of an update of a change's notes.
func (w *world) meta(c *change, by object) Record {
	r := w.record(w.refUpdated(c.project, metaRef(c), by), c)
	r.Want, r.Why = Filtered, gerrit.RuleMeta
	return r
}

// dropped returns the record of an event of an unneeded type.
func (w *world) dropped(event object) Record {
	r := w.record(event, nil)
	r.Want, r.Why = Filtered, gerrit.RuleType
	return r
}

// end appends the members with which every event ends: Gerrit writes the base
// fields last.
func (w *world) end(o object, eventType string) object {
	o = append(o, object{{"type", eventType}, {"eventCreatedOn", w.clock().Unix()}}...)
	if w.instanceID != "" {
		o = append(o, member{"instanceId", w.instanceID})
	}
	return o
}

// changeEvent returns an event about a change.
func (w *world) changeEvent(eventType, status string, c *change, extras object) object {
	return w.end(append(extras, object{
		{"change", w.changePart(c, status)},
		{"project", c.project},
		{"refName", fullName(c.branch)},
		{"changeKey", object{{"id", c.id}}},
	}...), eventType)
}

func (w *world) changePart(c *change, status string) object {
	o := object{{"project", c.project}, {"branch", c.branch}}
	if c.topic != "" {
		o = append(o, member{"topic", c.topic})
	}
	return append(o, object{
		{"id", c.id},
		{"number", c.number},
		{"subject", c.subject},
		{"owner", c.owner},
		{"url", fmt.Sprintf("https://review.example.com/c/%s/+/%d", c.project, c.number)},
		{"commitMessage", w.commitMessage(c)},
		{"createdOn", c.created},
		{"status", status},
	}...)
}

func (w *world) patchSetPart(c *change, withFiles bool) object {
	o := object{
		{"number", c.patchSet},
		{"revision", c.revision},
		{"parents", []string{w.sha()}},
		{"ref", patchSetRef(c)},
		{"uploader", c.owner},
		{"createdOn", c.created},
		{"author", c.owner},
		{"kind", pick(w.rng, []string{"REWORK", "TRIVIAL_REBASE", "NO_CODE_CHANGE", "NO_CHANGE"})},
	}
	if withFiles {
		var list []object
		for _, i := range w.rng.Perm(len(files))[:1+w.rng.IntN(len(files)-1)] {
			insertions, deletions := w.rng.IntN(80), -w.rng.IntN(40)
			list = append(list, object{
				{"file", files[i]}, {"type", "MODIFIED"}, {"insertions", insertions}, {"deletions", deletions},
			})
		}
		o = append(o, member{"files", list})
	}
	return append(o, object{{"sizeInsertions", w.rng.IntN(300)}, {"sizeDeletions", -w.rng.IntN(100)}}...)
}

func (w *world) approvals() []object {
	return []object{
		{{"type", "Verified"}, {"description", "Verified"}, {"value", "1"}, {"oldValue", "0"}},
		{{"type", "Code-Review"}, {"description", "Code-Review"}, {"value", "0"}},
	}
}

// refUpdated returns the event of an updated ref.
func (w *world) refUpdated(project, ref string, by object) object {
	return w.end(object{{"submitter", by}, {"refUpdate", w.refUpdatePart(project, ref)}}, "ref-updated")
}

func (w *world) refUpdatePart(project, ref string) object {
	return object{{"oldRev", w.sha()}, {"newRev", w.sha()}, {"refName", ref}, {"project", project}}
}

func fullName(branch string) string { return "refs/heads/" + branch }

func patchSetRef(c *change) string {
	return fmt.Sprintf("refs/changes/%02d/%d/%d", c.number%100, c.number, c.patchSet)
}

func metaRef(c *change) string {
	return fmt.Sprintf("refs/changes/%02d/%d/meta", c.number%100, c.number)
}
