package daemon

import (
	"errors"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// NewClassifier returns a Classifier of Gerrit's events: what is no sound event
// is bad, what the filter drops is filtered by the name of its rule, the rest
// is queued. If some entries of the filter matched none of the first events
// that came, it calls unused with them, once; unused may be nil.
func NewClassifier(filter *gerrit.Filter, unused func([]gerrit.Entry)) gerritstream.Classifier {
	names := newInterner()
	var usage *gerrit.Usage
	if unused != nil {
		usage = filter.Usage(firstEvents)
	}
	return func(_ gerritstream.ShardID, r *gerritstream.Record) gerritstream.Verdict {
		if r.Foreign {
			return gerritstream.Verdict{Filter: RuleForeign}
		}
		event, err := gerrit.Scan(r.Data)
		if err != nil {
			return bad(err)
		}
		if usage != nil {
			if entries := usage.See(&event); len(entries) > 0 {
				unused(entries)
			}
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

// RuleForeign names, beside the filter's own rules, the one that drops what
// drop_foreign_records says: records within aggregates that belong to another
// shard.
const RuleForeign = "foreign"

// rules returns the names of all rules that can drop a record.
func rules() []string { return append(gerrit.Rules(), RuleForeign) }

// firstEvents is how many events show which entries of a filter match
// something.
const firstEvents = 1000

// maxUnused is how many entries of a filter a line names.
const maxUnused = 10

// warnUnused logs the entries of the filter that matched none of the first
// events: each of them may be a typing error, after which nothing of its kind
// is queued.
func (d *Daemon) warnUnused(entries []gerrit.Entry) {
	var named []string
	for _, e := range entries[:min(len(entries), maxUnused)] {
		named = append(named, "filter."+e.Field+": "+strconv.Quote(gerrit.Text([]byte(e.Text))))
	}
	d.log.Warn("filter entries matched none of the first events", "events", firstEvents, "entries", named, "more", len(entries)-len(named))
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

// deadLetterReasons returns every reason for which a record can become a dead
// letter.
func deadLetterReasons() []string {
	reasons := append(config.StoreReasons(), gerritstream.ReasonAggregate, gerritstream.ReasonRejected)
	for _, r := range gerrit.Reasons() {
		reasons = append(reasons, string(r))
	}
	return reasons
}
