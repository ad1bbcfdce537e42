package gerrittest

import (
	"fmt"

	"github.com/gerritstream/gerritstream/gerrit"
)

// Scenes of which nothing reaches a queue for Zuul.

// replicate: a ref is pushed to two mirrors.
func replicate(w *world) []Record {
	project, ref := pick(w.rng, projects), fullName(pick(w.rng, branches))
	var records []Record
	nodes := []string{"mirror-1.example.com", "mirror-2.example.com"}
	for _, node := range nodes {
		records = append(records, w.dropped(append(target(project, ref, node), w.tail("ref-replication-scheduled")...)))
	}
	for _, node := range nodes {
		o := append(target(project, ref, node), object{{"status", "succeeded"}, {"refStatus", "OK"}}...)
		records = append(records, w.dropped(append(o, w.tail("ref-replicated")...)))
	}
	done := object{{"project", project}, {"ref", ref}, {"nodesCount", len(nodes)}}
	return append(records, w.dropped(append(done, w.tail("ref-replication-done")...)))
}

func target(project, ref, node string) object {
	return object{
		{"project", project}, {"ref", ref}, {"targetUri", "ssh://" + node + "/" + project + ".git"}, {"targetNode", node},
	}
}

// fetch: a mirror fetches a ref.
func fetch(w *world) []Record {
	project := pick(w.rng, projects)
	o := object{{"project", project}, {"ref", fullName(pick(w.rng, branches))}, {"targetUri", "https://review.example.com/" + project}}
	return []Record{
		w.dropped(append(o.with("status", "SCHEDULED"), w.tail("fetch-ref-replication-scheduled")...)),
		w.dropped(append(o.with("status", "SUCCEEDED"), w.tail("fetch-ref-replicated")...)),
	}
}

func cacheEviction(w *world) []Record {
	o := object{{"pluginName", "gerrit"}, {"cacheName", pick(w.rng, []string{"project_list", "groups", "accounts"})}, {"key", object{}}}
	return []Record{w.dropped(append(o, w.tail("cache-eviction")...))}
}

const (
	largeEvery = 20   // batches of which one is large; the first are not
	largeBatch = 5000 // refs of the largest one: nearly the 1 MiB that a record may have
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
	return []Record{w.dropped(append(o, w.tail("batch-ref-updated")...))}
}

// meta returns the record of a change's notes that moved.
func (w *world) meta(c *change, by object) Record {
	r := w.record(w.refUpdated(c.project, metaRef(c), by), c)
	r.Want, r.Why = Filtered, gerrit.RuleMeta
	return r
}

// dropped returns the record of an event whose type nobody needs.
func (w *world) dropped(event object) Record {
	r := w.record(event, nil)
	r.Want, r.Why = Filtered, gerrit.RuleType
	return r
}
