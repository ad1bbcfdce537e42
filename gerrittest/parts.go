package gerrittest

import "fmt"

// The parts that events are put together from, as Gerrit puts them: what an
// event adds comes first, its base fields last.

// tail returns the members every event ends with.
func (w *world) tail(eventType string) object {
	o := object{{"type", eventType}, {"eventCreatedOn", w.clock().Unix()}}
	if w.instanceID != "" {
		o = append(o, member{"instanceId", w.instanceID})
	}
	return o
}

// changeEvent returns an event about a change.
func (w *world) changeEvent(eventType, status string, c *change, extras object) object {
	var o object
	o = append(o, extras...)
	o = append(o, object{
		{"change", w.changePart(c, status)},
		{"project", c.project},
		{"refName", fullName(c.branch)},
		{"changeKey", object{{"id", c.id}}},
	}...)
	return append(o, w.tail(eventType)...)
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
			list = append(list, object{{"file", files[i]}, {"type", "MODIFIED"}, {"insertions", w.rng.IntN(80)}, {"deletions", -w.rng.IntN(40)}})
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

// refUpdated returns the event of a ref that moved.
func (w *world) refUpdated(project, ref string, by object) object {
	return append(object{
		{"submitter", by},
		{"refUpdate", w.refUpdatePart(project, ref)},
	}, w.tail("ref-updated")...)
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
