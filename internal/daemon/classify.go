package daemon

import (
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
)

// NewClassifier returns a Classifier of Gerrit's events: what is no sound event is bad, what the filter drops is filtered
// by the name of its rule, the rest is queued.
func NewClassifier(filter *gerrit.Filter) gerritstream.Classifier {
	names := newInterner()
	return func(data []byte) gerritstream.Verdict {
		event, err := gerrit.Scan(data)
		if err != nil {
			return bad(err)
		}
		return gerritstream.Verdict{
			Filter: filter.Rule(&event),
			Event: gerritstream.Event{
				Type:    names.text(event.Type),
				Project: names.text(event.Project),
				Ref:     gerrit.Text(event.Ref), // mostly of one change: not worth remembering
				Change:  event.Change,
				Created: created(event.Created),
			},
		}
	}
}

// bad turns a fault into a verdict.
func bad(err error) gerritstream.Verdict {
	var fault *gerrit.Fault
	if !errors.As(err, &fault) {
		return gerritstream.Verdict{Bad: string(gerrit.ReasonJSON), Detail: err.Error()}
	}
	return gerritstream.Verdict{Bad: string(fault.Reason), Detail: fault.Detail}
}

// created turns seconds since 1970 into a time; 0 means that there is none.
func created(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// typeLabel returns the label that an event's type has in metrics.
func typeLabel(eventType string) string { return gerrit.Label([]byte(eventType)) }
