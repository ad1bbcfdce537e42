package kinesistest

import "time"

// Limits of size, which always apply.
const (
	maxPageBytes      = 10 << 20
	maxPageRecords    = 10000
	maxPutRecords     = 500
	maxPutBytes       = 10 << 20 // of one PutRecords, since records may be that large
	maxListedShards   = 1000
	maxDescribeShards = 100
	maxListedStreams  = 10000
	iteratorLife      = 5 * time.Minute
	tokenLife         = 300 * time.Second
	resizesADay       = 10
	maxShards         = 10000 // open ones of the account, even with Options.NoLimits: a stream's at AWS
)

// Rates of a shard, which Options.NoLimits switches off.
const (
	readsASecond      = 5
	iteratorsASecond  = 5
	readBytesASecond  = 2 << 20
	recordsASecond    = 2000 // read
	writesASecond     = 1000
	writeBytesASecond = 1 << 20
)

// callMeter limits the calls a second.
type callMeter struct {
	passed []time.Time // the latest ones, oldest first
}

// allow reports whether the second that ends now has room for a call, and
// counts it if so.
func (m *callMeter) allow(now time.Time, rate int) bool {
	if len(m.passed) >= rate && now.Sub(m.passed[len(m.passed)-rate]) < time.Second {
		return false
	}
	if len(m.passed) >= rate {
		m.passed = append(m.passed[:0], m.passed[len(m.passed)-rate+1:]...)
	}
	m.passed = append(m.passed, now)
	return true
}

// debt limits the bytes or records read a second. A read is allowed before its
// size is known, so it may overdraw; later ones wait until all of it is paid
// off: a page of 10 MiB, or of 10,000 records, costs five seconds.
type debt struct {
	paid  time.Time // when everything read so far is paid off
	spent int       // since nothing was owed
}

func (d *debt) allow(now time.Time, rate int) bool {
	return !now.Before(d.paid) || d.spent < rate
}

func (d *debt) charge(now time.Time, n, rate int) {
	if !now.Before(d.paid) {
		d.paid, d.spent = now, 0
	}
	d.spent += n
	d.paid = d.paid.Add(time.Duration(n) * time.Second / time.Duration(rate))
}

// bucket limits what is written a second: one second's worth may come at once,
// and a single record larger than that if nothing came before it.
type bucket struct {
	level float64 // used of one second's worth
	at    time.Time
}

func (b *bucket) room(now time.Time, n, rate int) bool {
	b.level = max(0, b.level-now.Sub(b.at).Seconds()*float64(rate))
	b.at = now
	return b.level == 0 || b.level+float64(n) <= float64(rate)
}

func (b *bucket) take(n int) { b.level += float64(n) }

// meters apply a shard's rates.
type meters struct {
	reads     callMeter
	iterators callMeter
	readBytes debt
	records   debt // read
	writes    bucket
	writeRate bucket
}

// allowRead reports whether the shard may be read now, and counts the call if
// so.
func (m *meters) allowRead(now time.Time) bool {
	return m.readBytes.allow(now, readBytesASecond) && m.records.allow(now, recordsASecond) &&
		m.reads.allow(now, readsASecond)
}

// allowWrite reports whether the shard accepts one more record, and counts it
// if so.
func (m *meters) allowWrite(now time.Time, size int) bool {
	if !m.writeRate.room(now, 1, writesASecond) || !m.writes.room(now, size, writeBytesASecond) {
		return false
	}
	m.writeRate.take(1)
	m.writes.take(size)
	return true
}

// checkShardLimit refuses more open shards than the account may have. mu is
// held.
func (s *Server) checkShardLimit(more int) *Fault {
	limit := maxShards
	if !s.opts.NoLimits {
		limit = min(limit, s.opts.ShardLimit)
	}
	open := 0
	for _, st := range s.streams {
		open += len(st.open)
	}
	if open+more <= limit {
		return nil
	}
	return fault("LimitExceededException", "This request would exceed the shard limit for the account %s in %s. "+
		"Current shard count for the account: %d. Limit: %d. Number of additional shards that would have resulted "+
		"from this request: %d. "+
		"Refer to the AWS Service Limits page for current limits and how to request higher limits.",
		s.opts.Account, s.opts.Region, open, limit, more)
}
