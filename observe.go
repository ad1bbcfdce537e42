package gerritstream

import "time"

// Observer is told what a Listener does, as it does it: for metrics, for a
// person watching, for a history to check. Its methods are called by several
// goroutines at once, hold up the shard they are called for, and keep nothing
// they are given. Embed NopObserver to implement a part of it.
type Observer interface {
	// Elected: a term has begun, from this position (ok false: there is none
	// yet).
	Elected(shard ShardID, term uint64, from Position, ok bool)

	// PageRead: a page has come, before its records are looked at.
	PageRead(shard ShardID, page *Batch)

	// Judged: a record that is new has got its verdict; it is not committed
	// yet, and may be judged again.
	Judged(shard ShardID, record *Record, verdict *Verdict)

	// Committed: this commit is durable.
	Committed(shard ShardID, term uint64, commit *Commit, took time.Duration)

	// Lost: records that arrived in the interval may have gone unread. An empty
	// shard means the stream as a whole, and each process says it that notices.
	// Why is one of Causes.
	Lost(shard ShardID, interval Interval)

	// TermEnded: the leadership is over. cause is nil after a clean end.
	TermEnded(shard ShardID, term uint64, cause error)
}

// NopObserver is an Observer that looks away.
type NopObserver struct{}

// Elected does nothing.
func (NopObserver) Elected(ShardID, uint64, Position, bool) {}

// PageRead does nothing.
func (NopObserver) PageRead(ShardID, *Batch) {}

// Judged does nothing.
func (NopObserver) Judged(ShardID, *Record, *Verdict) {}

// Committed does nothing.
func (NopObserver) Committed(ShardID, uint64, *Commit, time.Duration) {}

// Lost does nothing.
func (NopObserver) Lost(ShardID, Interval) {}

// TermEnded does nothing.
func (NopObserver) TermEnded(ShardID, uint64, error) {}
