package consumer

import (
	"time"

	"github.com/gerritstream/gerritstream"
)

// Observer is told what a Consumer does, as it does it: for metrics, for a
// person watching, for a history to check. Its methods are called by several
// goroutines at once, hold up the shard they are called for, and keep nothing
// they are given. Embed NopObserver to implement a part of it.
type Observer interface {
	// Elected: a term has begun, from this position (ok false: there is none
	// yet).
	Elected(shard gerritstream.ShardID, term uint64, from gerritstream.Position, ok bool)

	// PageRead: a page has come, before its records are looked at.
	PageRead(shard gerritstream.ShardID, page *gerritstream.Page)

	// Judged: a record that is new has got its verdict; it is not committed
	// yet, and may be judged again.
	Judged(shard gerritstream.ShardID, record *gerritstream.Record, verdict *gerritstream.Verdict)

	// Committed: this commit is durable.
	Committed(shard gerritstream.ShardID, term uint64, commit *gerritstream.Commit, took time.Duration)

	// Lost: records that arrived in the interval may have gone unread. An empty
	// shard means the stream as a whole, and each process says it that notices.
	// Why is one of Causes.
	Lost(shard gerritstream.ShardID, interval gerritstream.Interval)

	// TermEnded: the leadership is over. cause is nil after a clean end.
	TermEnded(shard gerritstream.ShardID, term uint64, cause error)
}

// NopObserver is an Observer that looks away.
type NopObserver struct{}

// Elected does nothing.
func (NopObserver) Elected(gerritstream.ShardID, uint64, gerritstream.Position, bool) {}

// PageRead does nothing.
func (NopObserver) PageRead(gerritstream.ShardID, *gerritstream.Page) {}

// Judged does nothing.
func (NopObserver) Judged(gerritstream.ShardID, *gerritstream.Record, *gerritstream.Verdict) {}

// Committed does nothing.
func (NopObserver) Committed(gerritstream.ShardID, uint64, *gerritstream.Commit, time.Duration) {}

// Lost does nothing.
func (NopObserver) Lost(gerritstream.ShardID, gerritstream.Interval) {}

// TermEnded does nothing.
func (NopObserver) TermEnded(gerritstream.ShardID, uint64, error) {}
