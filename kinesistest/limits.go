package kinesistest

import "time"

// Limits of size, which hold always.
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
	maxShards         = 10000 // open ones of the account, whatever Options say: a stream's at AWS
)

// Rates of a shard, which Options.NoLimits switches off.
const (
	readsASecond      = 5
	iteratorsASecond  = 5
	readBytesASecond  = 2 << 20
	writesASecond     = 1000
	writeBytesASecond = 1 << 20
)

// callMeter lets so many calls a second pass.
type callMeter struct {
	passed []time.Time // the newest ones, oldest first
}

// allow counts a call when there is room for it in the second that ends now.
// Refused calls do not count.
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

// byteDebt meters what is read. A read is allowed before its size is known, so
// it may overdraw; what follows waits until the whole of it is paid off: a page
// of 10 MiB costs five seconds.
type byteDebt struct {
	paid  time.Time // when all that was read so far is paid off
	spent int       // since the last time nothing was owed
}

func (d *byteDebt) allow(now time.Time, rate int) bool {
	return !now.Before(d.paid) || d.spent < rate
}

func (d *byteDebt) charge(now time.Time, n, rate int) {
	if !now.Before(d.paid) {
		d.paid, d.spent = now, 0
	}
	d.spent += n
	d.paid = d.paid.Add(time.Duration(n) * time.Second / time.Duration(rate))
}

// bucket meters what is written: one second's worth may come at once, and a
// single record larger than that when nothing came before it.
type bucket struct {
	level float64 // what is in use of one second's worth
	at    time.Time
}

func (b *bucket) room(now time.Time, n, rate int) bool {
	b.level = max(0, b.level-now.Sub(b.at).Seconds()*float64(rate))
	b.at = now
	return b.level == 0 || b.level+float64(n) <= float64(rate)
}

func (b *bucket) take(n int) { b.level += float64(n) }

// allowWrite reports whether a shard takes one more record, and counts it if
// so.
func (sh *shard) allowWrite(now time.Time, size int) bool {
	if !sh.writeRate.room(now, 1, writesASecond) || !sh.writes.room(now, size, writeBytesASecond) {
		return false
	}
	sh.writeRate.take(1)
	sh.writes.take(size)
	return true
}
