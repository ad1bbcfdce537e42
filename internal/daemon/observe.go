package daemon

import (
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
)

// observers passes what happens to several Observers, in their order.
type observers []consumer.Observer

func (all observers) Elected(shard gerritstream.ShardID, term uint64, from gerritstream.Position, ok bool) {
	for _, o := range all {
		o.Elected(shard, term, from, ok)
	}
}

func (all observers) PageRead(shard gerritstream.ShardID, page *gerritstream.Page) {
	for _, o := range all {
		o.PageRead(shard, page)
	}
}

func (all observers) Judged(shard gerritstream.ShardID, record *gerritstream.Record, verdict *gerritstream.Verdict) {
	for _, o := range all {
		o.Judged(shard, record, verdict)
	}
}

func (all observers) Committed(
	shard gerritstream.ShardID, term uint64, commit *gerritstream.Commit, took time.Duration,
) {
	for _, o := range all {
		o.Committed(shard, term, commit, took)
	}
}

func (all observers) Lost(shard gerritstream.ShardID, interval gerritstream.Interval) {
	for _, o := range all {
		o.Lost(shard, interval)
	}
}

func (all observers) TermEnded(shard gerritstream.ShardID, term uint64, cause error) {
	for _, o := range all {
		o.TermEnded(shard, term, cause)
	}
}
