package lease

import "time"

// Lease is a shard's lease, or a consumer's, as it was read.
type Lease struct {
	Term      uint64
	Process   string // empty: free
	Heartbeat uint64 // of that process
}

// Unchanged is a lease and since when it has been seen just so. A process'
// heartbeats grow: a number that is seen twice was the last one throughout.
type Unchanged struct {
	Lease Lease
	Since time.Time
	TTL   time.Duration // the longer one of the holder's and the candidate's
}

// Observe notes the lease that was read, at a moment not later than now.
func (l Unchanged) Observe(seen Lease, ttl time.Duration, now time.Time) Unchanged {
	if l.Lease == seen && !l.Since.IsZero() {
		now = l.Since
	}
	return Unchanged{seen, now, ttl}
}

// MayTake reports whether a candidate of the process self may take a lease.
// leading: that process has a term of the shard. preceded: another live
// candidate is before it, and is left a TTL to take the lease. now is not later
// than the moment at which the lease was last read.
func (l Unchanged) MayTake(self string, leading, preceded bool, now time.Time) bool {
	var patience time.Duration
	switch l.Lease.Process {
	case "", self: // free, or of a term of ours that ended
		if leading {
			return false
		}
	default:
		patience = l.TTL
	}
	if preceded {
		patience += l.TTL
	}
	// A free lease need not have been seen for any time: now is before that.
	return patience == 0 || now.Sub(l.Since) >= patience
}
