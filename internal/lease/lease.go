package lease

import "time"

// Lease is a shard's lease, or a consumer's, as it was read.
type Lease struct {
	Term      uint64
	Process   string // empty: free
	Heartbeat uint64 // of that process
}

// unchanged is a lease and since when it has been seen just so. A process'
// heartbeats grow: a number that is seen twice was the last one throughout.
type unchanged struct {
	lease Lease
	since time.Time
	ttl   time.Duration // the longer one of the holder's and the candidate's
}

// observe notes the lease that was read, at a moment not later than now.
func (l unchanged) observe(seen Lease, ttl time.Duration, now time.Time) unchanged {
	if l.lease == seen && !l.since.IsZero() {
		now = l.since
	}
	return unchanged{seen, now, ttl}
}

// mayTake reports whether a candidate of the process self may take a lease.
// leading: that process has a term of the shard. preceded: another live
// candidate is before it, and is left a TTL to take the lease. now is not later
// than the moment at which the lease was last read.
func (l unchanged) mayTake(self string, leading, preceded bool, now time.Time) bool {
	var patience time.Duration
	switch l.lease.Process {
	case "", self: // free, or of a term of ours that ended
		if leading {
			return false
		}
	default:
		patience = l.ttl
	}
	if preceded {
		patience += l.ttl
	}
	// A free lease need not have been seen for any time: now is before that.
	return patience == 0 || now.Sub(l.since) >= patience
}
