package daemon

import (
	"errors"
	"hash/maphash"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// RuleForeign names, besides the filter's own rules, the one that drops records
// within aggregates that belong to another shard: the setting
// drop_foreign_records.
const RuleForeign = "foreign"

const (
	firstEvents = 1000 // decide which entries of a filter match something
	maxUnused   = 10   // entries that a warning names
)

// NewClassifier returns a Classifier of Gerrit's events: invalid events are
// bad, events that the filter drops are filtered by the name of its rule, and
// the rest is queued. If entries of the filter matched none of the first
// events, unused is called with them, once; it may be nil.
func NewClassifier(filter *gerrit.Filter, unused func([]gerrit.Entry)) gerritstream.Classifier {
	names := &interner{seed: maphash.MakeSeed()}
	var usage *gerrit.Usage
	if unused != nil {
		usage = filter.Usage(firstEvents)
	}
	return func(_ gerritstream.ShardID, r *gerritstream.Record) gerritstream.Verdict {
		if r.Foreign {
			return gerritstream.Verdict{Filter: RuleForeign}
		}
		event, err := gerrit.Scan(r.Data)
		if fault, ok := errors.AsType[*gerrit.Fault](err); ok {
			return gerritstream.Verdict{Bad: string(fault.Reason), Detail: fault.Detail}
		} else if err != nil {
			return gerritstream.Verdict{Bad: string(gerrit.ReasonJSON), Detail: err.Error()}
		}
		if usage != nil {
			if entries := usage.See(&event); len(entries) > 0 {
				unused(entries)
			}
		}
		var created time.Time
		if event.Created != 0 {
			created = time.Unix(event.Created, 0).UTC()
		}
		return gerritstream.Verdict{
			Filter: filter.Rule(&event),
			Event: gerritstream.Event{
				Type:    names.text(event.Type),
				Project: names.text(event.Project),
				Ref:     gerrit.Text(event.Ref), // mostly of one change: not worth remembering
				Change:  event.Change,
				Created: created,
			},
		}
	}
}

// warnUnused logs the entries of the filter that matched none of the first
// events. Each may be a typing error that keeps its events out of the queue.
func (d *Daemon) warnUnused(entries []gerrit.Entry) {
	var named []string
	for _, e := range entries[:min(len(entries), maxUnused)] {
		named = append(named, "filter."+e.Field+": "+strconv.Quote(gerrit.Text([]byte(e.Text))))
	}
	d.log.Warn("filter entries matched none of the first events",
		"events", firstEvents, "entries", named, "more", len(entries)-len(named))
}

// DeadLetterReasons returns every reason for which a record can become a dead
// letter.
func DeadLetterReasons() []string {
	reasons := append(config.StoreReasons(), gerritstream.ReasonAggregate, gerritstream.ReasonRejected)
	for _, r := range gerrit.Reasons() {
		reasons = append(reasons, string(r))
	}
	return reasons
}

// internSlots is how many texts are remembered. Types and busy projects are a
// few hundred.
const internSlots = 2048

// interner turns fields of events into strings without allocating each time. It
// remembers a bounded number of them: each text has one slot, which keeps the
// newest of the texts that share it. It may be used by several goroutines at
// once.
type interner struct {
	seed  maphash.Seed
	slots [internSlots]atomic.Pointer[string]
}

// text returns the field as gerrit.Text does.
func (in *interner) text(field []byte) string {
	if len(field) == 0 {
		return ""
	}
	slot := &in.slots[maphash.Bytes(in.seed, field)%internSlots]
	if known := slot.Load(); known != nil && *known == string(field) {
		return *known
	}
	text := gerrit.Text(field)
	slot.Store(&text)
	return text
}
