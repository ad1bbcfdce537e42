package gerritstream

import "time"

// Classifier judges one record of a shard. Several goroutines call it at once.
// It never fails, changes nothing of the record and keeps none of its bytes. A
// record may be judged several times; the verdict that is committed counts.
type Classifier func(shard ShardID, r *Record) Verdict

// Verdict is what becomes of a record: dead-lettered if Bad is set, else
// filtered if Filter is set, else queued.
type Verdict struct {
	Event  Event
	Filter string // the rule that drops the record, of a bounded set: it labels a metric
	Bad    string // the reason to dead-letter it, of a bounded set: it labels a metric
	Detail string // with Bad: what is wrong and where, without payload
}

// Event is what is known of a queued record besides its bytes. All of it may be
// empty.
type Event struct {
	Type    string    `json:"type,omitempty"`
	Project string    `json:"project,omitempty"`
	Ref     string    `json:"ref,omitempty"`
	Change  int64     `json:"change,omitempty"` // number; 0: none
	Created time.Time `json:"created,omitzero"` // by the producer, to the second

	// Attributes are what else the Classifier knows, a tenant, say, and a W3C
	// traceparent. They count for Limits: keep them few and short. Sinks get
	// them, a SQLite store keeps them, and Zuul's queue has only the span. The
	// sink stdout omits names that CloudEvents does not allow.
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Reasons of dead letters that no Classifier gives.
const (
	ReasonAggregate = "aggregate" // the record claims to be a KPL aggregate and is not a sound one
	ReasonRejected  = "rejected"  // a sink refused the entry, which is in the store's queue all the same
)
