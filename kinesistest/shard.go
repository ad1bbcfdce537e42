package kinesistest

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// shard is one shard, open or closed. The server's mutex owns it. Times are in
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

	clock   int64    // no record arrives before it, nor before a time that a reader has passed
	count   int64    // of records ever stored
	records []record // those kept, in order

	reads     callMeter
	iterators callMeter
	readBytes byteDebt
	writes    bucket
	writeRate bucket
}

// record is a stored record. Its JSON is rendered once, when it is put, so that
// reading it is copying.
type record struct {
	place
	size int // of data and partition key, in bytes
	json []byte
}

// place is a point in a shard: every record has one, and a reader stands at
// one, in front of the first record at or behind it.
type place struct {
	ms int64
	n  int64
}

func (p place) compare(other place) int {
	if c := cmp.Compare(p.ms, other.ms); c != 0 {
		return c
	}
	return cmp.Compare(p.n, other.n)
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
	sh.records = append(sh.records, record{place: at, size: e.size(), json: e.render(seq, at.ms)})
	return seq
}

// trim drops what arrived before the horizon.
func (sh *shard) trim(horizon int64) {
	if i := sh.search(place{ms: horizon}); i > 0 {
		clear(sh.records[:i])
		sh.records = sh.records[i:]
	}
}

// search returns the index of the first record at or behind a place.
func (sh *shard) search(p place) int {
	return sort.Search(len(sh.records), func(i int) bool { return sh.records[i].compare(p) >= 0 })
}

// tip is the place behind everything stored, for a reader that has seen it all:
// no later record will be in front of it.
func (sh *shard) tip(now time.Time) place {
	sh.clock = max(sh.clock, now.UnixMilli())
	tip := place{ms: sh.clock}
	if last := len(sh.records) - 1; last >= 0 {
		tip = later(tip, sh.records[last].next())
	}
	return tip
}

func (sh *shard) sequenceAt(p place) string {
	return sequence{stream: sh.stream.created.UnixMilli(), ms: p.ms, n: p.n, shard: sh.index}.String()
}

func (sh *shard) startingSequence() string { return sh.sequenceAt(place{ms: sh.created}) }

// endingSequence is behind every record's of a closed shard.
func (sh *shard) endingSequence() string { return sh.sequenceAt(sh.endPlace()) }

func (sh *shard) endPlace() place { return place{sh.closedAt, maxCount} }

// openAt reports whether the shard took records at a time.
func (sh *shard) openAt(ms int64) bool {
	return sh.created <= ms && (!sh.closed || sh.closedAt > ms)
}

// openSince reports whether it took records at that time or later.
func (sh *shard) openSince(ms int64) bool { return !sh.closed || sh.closedAt > ms }

// page is what one read of a shard gives.
type page struct {
	records []record
	next    place
	end     bool
	behind  int64 // ms
}

// read collects the records from a place on, up to limit and the page size.
func (sh *shard) read(from place, limit int, opts *Options, now time.Time) page {
	horizon := sh.stream.horizon(now)
	sh.trim(horizon)
	from = later(from, place{ms: max(horizon, sh.created)})
	i := sh.search(from)
	if i == len(sh.records) {
		return sh.readNothing(from, opts, now)
	}
	if step := opts.ScanSpan.Milliseconds(); step > 0 && sh.records[i].ms-from.ms > step {
		return emptyStep(from, step, now)
	}
	count := pageLength(sh.records[i:], limit)
	p := page{records: slices.Clone(sh.records[i : i+count])}
	last := p.records[count-1]
	p.next = last.next()
	if i+count < len(sh.records) {
		p.behind = max(1, now.UnixMilli()-last.ms)
		return p
	}
	rest := sh.readNothing(p.next, opts, now)
	p.next, p.behind, p.end = rest.next, rest.behind, rest.end && !opts.EmptyLastPage
	return p
}

// readNothing is the page of a reader that has no record in front of it.
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

// emptyStep is an empty page with more to look through behind it.
func emptyStep(from place, step int64, now time.Time) page {
	next := place{ms: from.ms + step}
	return page{next: next, behind: max(1, now.UnixMilli()-next.ms)}
}

// pageLength says how many of the records fit on a page: one at least.
func pageLength(records []record, limit int) int {
	bytes := 0
	for i := range records {
		bytes += records[i].size
		if i == limit || (i > 0 && bytes > maxPageBytes) {
			return i
		}
	}
	return len(records)
}
