package gerritstream

import "time"

// Classifier judges one record of a shard. It is called by several goroutines
// at once, changes nothing of the record and keeps none of its bytes, and never
// fails: what is wrong with a record is part of the verdict. One record may be
// judged several times; the verdict that counts is the one that is committed.
type Classifier func(shard ShardID, r *Record) Verdict

// Verdict is what becomes of a record: dead-lettered if Bad is set, else
// filtered if Filter is set, else queued.
type Verdict struct {
	Event  Event
	Filter string // the rule that drops the record, of a bounded set: it labels a metric
	Bad    string // the reason to put it aside, of a bounded set: it labels a metric
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

	// Attributes are what the Classifier knows of the record besides: a tenant,
	// say, or its partition key. Sinks get them, and a SQLite store keeps them;
	// other queues may have no place for them. Keep them few and short: they count
	// for Limits. The sink stdout can write those whose names are lower-case
	// letters and digits, as CloudEvents has it, and leaves the others out.
	Attributes map[string]string `json:"attributes,omitempty"`
}

// weight is what an event's attributes count for in Limits, in bytes.
func (e *Event) weight() int {
	sum := 0
	for name, value := range e.Attributes {
		sum += len(name) + len(value) + 8
	}
	return sum
}

// ReasonAggregate is the Bad of a record that claims to be a KPL aggregate and
// is not a sound one.
const ReasonAggregate = "aggregate"

// ReasonRejected is the Reason of a dead letter for an entry that a sink
// refused. The entry is in the store's queue all the same.
const ReasonRejected = "rejected"
