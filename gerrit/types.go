package gerrit

import "slices"

// Types with rules of their own.
const (
	typeRefUpdated         = "ref-updated"
	typeBatchRefUpdated    = "batch-ref-updated"
	typeProjectHeadUpdated = "project-head-updated"
	typeRefReplicated      = "ref-replicated"
	typeRefScheduled       = "ref-replication-scheduled"
)

// OtherType is the label of every type that is not among Types.
const OtherType = "other"

// gerritTypes are Gerrit's own events. It is never written to.
var gerritTypes = []string{
	"patchset-created", "comment-added", "change-merged", "change-abandoned", "change-restored", "change-deleted",
	"reviewer-added", "reviewer-deleted", "vote-deleted", "topic-changed", "hashtags-changed",
	"custom-keyed-values-changed", "wip-state-changed", "private-state-changed",
	typeRefUpdated, typeBatchRefUpdated, "project-created", typeProjectHeadUpdated,
}

// knownTypes are Gerrit's own events and those of its widespread plugins. It is
// never written to.
var knownTypes = append(slices.Clone(gerritTypes),
	typeRefReplicated, typeRefScheduled, "ref-replication-done", "fetch-ref-replicated", "fetch-ref-replication-scheduled",
	"cache-eviction", "rerun-check",
)

// labels leads from a known type to itself. It is never written to.
var labels = func() map[string]string {
	m := make(map[string]string, len(knownTypes))
	for _, t := range knownTypes {
		m[t] = t
	}
	return m
}()

// Types returns the types that have a label of their own: those of Gerrit
// itself, then those of plugins.
func Types() []string { return slices.Clone(knownTypes) }

// Label returns the type if it is a known one, else OtherType: a metric's label
// must not be chosen by whoever writes an event. It does not allocate.
func Label(eventType []byte) string {
	if l, ok := labels[string(eventType)]; ok {
		return l
	}
	return OtherType
}
