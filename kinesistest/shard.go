package kinesistest

import (
	"bytes"
	"cmp"
	"crypto/md5" //nolint:gosec // Kinesis routes by it
	"math/big"
	"slices"
	"sort"
	"time"
)

// shard is a shard, open or closed. The server's mutex owns it. Times are in
// ms.
type shard struct {
	stream      *stream
	id          string
	index       int
	first, last hashKey
	parents     []string
	children    []*shard
	created     int64
	closed      bool
	closedAt    int64

	clock   int64    // no record arrives earlier, nor before a time that a reader has passed
	count   int64    // of records ever stored
	records []record // those kept, in order
	meters  meters
	changed chan struct{} // closed at the next change; nil: nobody waits for one
}

// record is a stored record. Its CBOR is rendered once, when it is put, so that
// reading it is copying.
type record struct {
	at   place
	size int // of data and partition key, in bytes
	seq  string
	key  string
	cbor []byte
}

// data is the end of the CBOR, before the end of the map.
func (r *record) data() []byte {
	end := len(r.cbor) - 1
	return r.cbor[end-r.size+len(r.key) : end : end]
}

// place is a point in a shard. Every record has one; a reader at a place gets
// the first record at or after it.
type place struct {
	ms int64
	n  int64
}

func (p place) compare(other place) int {
	return cmp.Or(cmp.Compare(p.ms, other.ms), cmp.Compare(p.n, other.n))
}

func (p place) next() place { return place{p.ms, p.n + 1} }

func later(a, b place) place {
	if a.compare(b) < 0 {
		return b
	}
	return a
}

// put stores a record and returns its sequence number.
func (sh *shard) put(e entry, now time.Time) string {
	sh.clock = max(sh.clock, now.UnixMilli())
	sh.count++
	at := place{sh.clock, sh.count}
	seq := sh.sequenceAt(at)
	sh.records = append(sh.records, record{at, e.size(), seq, e.key, e.render(seq, at.ms)})
	sh.wake()
	return seq
}

// changes returns a channel that is closed at the shard's next change.
func (sh *shard) changes() <-chan struct{} {
	if sh.changed == nil {
		sh.changed = make(chan struct{})
	}
	return sh.changed
}

// wake wakes those who wait for a change.
func (sh *shard) wake() {
	if sh.changed != nil {
		close(sh.changed)
		sh.changed = nil
	}
}

// trim drops the records that arrived before the horizon.
func (sh *shard) trim(horizon int64) {
	if i := sh.search(place{ms: horizon}); i > 0 {
		clear(sh.records[:i])
		sh.records = sh.records[i:]
	}
}

// search returns the index of the first record at or after a place.
func (sh *shard) search(p place) int {
	return sort.Search(len(sh.records), func(i int) bool { return sh.records[i].at.compare(p) >= 0 })
}

// tip returns the place after everything stored. All later records will be at
// or after it too.
func (sh *shard) tip(now time.Time) place {
	sh.clock = max(sh.clock, now.UnixMilli())
	tip := place{ms: sh.clock}
	if last := len(sh.records) - 1; last >= 0 {
		tip = later(tip, sh.records[last].at.next())
	}
	return tip
}

func (sh *shard) sequenceAt(p place) string {
	return sequence{stream: sh.stream.created.UnixMilli(), ms: p.ms, n: p.n, shard: sh.index}.String()
}

// endPlace is after every record of a closed shard.
func (sh *shard) endPlace() place { return place{sh.closedAt, maxCount} }

// openAt reports whether the shard accepted records at a time.
func (sh *shard) openAt(ms int64) bool { return sh.created <= ms && sh.openSince(ms) }

// openSince reports whether it accepted records at that time or later.
func (sh *shard) openSince(ms int64) bool { return !sh.closed || sh.closedAt > ms }

// page is the result of one read of a shard.
type page struct {
	records []record
	next    place
	end     bool
	lag     int64 // ms: MillisBehindLatest
}

// read returns the records from a place on, up to limit and the page size.
func (sh *shard) read(from place, limit int, opts *Options, now time.Time) page {
	horizon := sh.stream.horizon(now)
	sh.trim(horizon)
	from = later(from, place{ms: max(horizon, sh.created)})
	i := sh.search(from)
	if i == len(sh.records) {
		return sh.readNothing(from, opts, now)
	}
	if step := opts.ScanSpan.Milliseconds(); step > 0 && sh.records[i].at.ms-from.ms > step {
		return emptyStep(from, step, now)
	}
	count, size := 1, sh.records[i].size
	for ; count < min(limit, len(sh.records)-i); count++ {
		if size += sh.records[i+count].size; size > maxPageBytes {
			break
		}
	}
	p := page{records: slices.Clone(sh.records[i : i+count])}
	last := p.records[count-1].at
	p.next = last.next()
	if i+count < len(sh.records) {
		p.lag = max(1, now.UnixMilli()-last.ms)
		return p
	}
	rest := sh.readNothing(p.next, opts, now)
	p.next, p.lag, p.end = rest.next, rest.lag, rest.end && !opts.EmptyLastPage
	return p
}

// readNothing is read for a place without later records.
func (sh *shard) readNothing(from place, opts *Options, now time.Time) page {
	until := now.UnixMilli()
	if sh.closed {
		until = sh.closedAt
	}
	if step := opts.ScanSpan.Milliseconds(); step > 0 && until-from.ms > step {
		return emptyStep(from, step, now)
	}
	if sh.closed {
		return page{next: from, end: true}
	}
	return page{next: later(from, sh.tip(now))}
}

// emptyStep returns an empty page with more to look through after it.
func emptyStep(from place, step int64, now time.Time) page {
	next := place{ms: from.ms + step}
	return page{next: next, lag: max(1, now.UnixMilli()-next.ms)}
}

// hashKey is a 128-bit key, most significant byte first.
type hashKey [16]byte

// maxHashKey returns the last key: 2^128-1.
func maxHashKey() hashKey { return hashKey(bytes.Repeat([]byte{0xff}, len(hashKey{}))) }

func hashOf(partitionKey string) hashKey {
	return md5.Sum([]byte(partitionKey)) //nolint:gosec // see above
}

// parseHashKey parses a decimal key; ok is false if it is none or too large.
func parseHashKey(s string) (key hashKey, ok bool) {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.Sign() < 0 || n.BitLen() > 8*len(key) {
		return hashKey{}, false
	}
	return keyOf(n), true
}

func keyOf(n *big.Int) hashKey {
	var k hashKey
	n.FillBytes(k[:])
	return k
}

func (k hashKey) int() *big.Int             { return new(big.Int).SetBytes(k[:]) }
func (k hashKey) String() string            { return k.int().String() }
func (k hashKey) compare(other hashKey) int { return bytes.Compare(k[:], other[:]) }

// before returns the key before k, which is not the first.
func (k hashKey) before() hashKey { return keyOf(new(big.Int).Sub(k.int(), big.NewInt(1))) }

// evenStarts divides all keys into n ranges of equal size, as far as keys can
// be divided, and returns where each starts. Where n ranges start, 2n do as
// well, so that a doubling only splits.
func evenStarts(n int) []hashKey {
	starts := make([]hashKey, n)
	for i := range starts {
		start := new(big.Int).Lsh(big.NewInt(int64(i)), 128)
		starts[i] = keyOf(start.Div(start, big.NewInt(int64(n))))
	}
	return starts
}

// middle returns the key that divides a range into halves.
func middle(first, last hashKey) hashKey {
	sum := new(big.Int).Add(first.int(), last.int())
	sum.Add(sum, big.NewInt(1))
	return keyOf(sum.Rsh(sum, 1))
}
