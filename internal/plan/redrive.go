package plan

import (
	"fmt"

	"github.com/gerritstream/gerritstream"
)

// StillRefusedError is why a dead letter cannot be queued.
type StillRefusedError struct {
	ID     gerritstream.EventID
	Reason string // as in DeadLetter and Verdict, or ReasonFiltered
	Detail string // free of payload
}

func (e *StillRefusedError) Error() string {
	return fmt.Sprintf("dead letter %s is not queued: %s: %s", e.ID, e.Reason, e.Detail)
}

// ReasonFiltered is the Reason of a StillRefusedError for what a filter drops.
const ReasonFiltered = "filtered"

// Redrive judges a dead letter again and returns its entry, for
// Operator.RedriveDeadLetter.
//
// A *StillRefusedError refuses what is still bad, what a filter drops, an
// aggregate that cannot be split, and what a sink refused (ReasonRejected):
// that entry was queued, and queuing it again would hand it on twice.
// ErrTruncated: only the beginning of the record is held.
func Redrive(d *gerritstream.DeadLetter, classify gerritstream.Classifier) (gerritstream.Entry, error) {
	refuse := func(reason, detail string) (gerritstream.Entry, error) {
		return gerritstream.Entry{}, &StillRefusedError{ID: d.ID, Reason: reason, Detail: detail}
	}
	switch {
	case d.Reason == gerritstream.ReasonRejected:
		return refuse(d.Reason, "only a sink refused it; it was queued: "+d.Detail)
	case d.Reason == gerritstream.ReasonAggregate:
		return refuse(d.Reason, d.Detail)
	case len(d.Payload) < d.Length:
		return gerritstream.Entry{},
			fmt.Errorf("dead letter %s: %w: %d of %d bytes", d.ID, gerritstream.ErrTruncated, len(d.Payload), d.Length)
	}
	r := gerritstream.Record{Seq: d.Seq, Sub: d.Sub, Last: true, Arrived: d.Arrived, Data: d.Payload}
	v := classify(d.Shard, &r)
	switch {
	case v.Bad != "":
		return refuse(v.Bad, v.Detail)
	case v.Filter != "":
		return refuse(ReasonFiltered, "the filter drops it by its rule "+v.Filter)
	}
	return gerritstream.Entry{
		ID: d.ID, Shard: d.Shard, Seq: d.Seq, Sub: d.Sub, Arrived: d.Arrived, Event: v.Event, Payload: d.Payload,
	}, nil
}
