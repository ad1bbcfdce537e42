package kinesis

import (
	"context"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
)

// page is a decoded reply and the memory it takes.
type page struct {
	reply  *reply
	buf    []byte
	total  int        // of the records, those within aggregates counted
	own    *hashRange // the shard's; nil: records of other shards are not marked
	now    time.Time  // the service's, not later than the request
	pushed bool       // it is an event of a subscription
	memory memory
}

// isProof reports whether a page that was polled proves that all that had
// arrived was read.
func (p *page) isProof() bool { return len(p.reply.records) == 0 && p.reply.lag == 0 }

// yield hands the page on as one Page or, if aggregates expand to more than
// 10,000 records, as several, each after the one before is Done. It reports
// whether to go on; its error is the context's, if that ended in between.
func (p *page) yield(ctx context.Context, yield func(gerritstream.Page, error) bool) (bool, error) {
	defer p.memory.finish()
	left := p.total
	if left == 0 {
		p.memory.finish()
		return yield(p.part(nil, true), nil), nil
	}
	for u := (unpacker{page: p}); ; {
		size := min(left, maxRecords)
		records := u.next(size)
		left -= size
		if left == 0 {
			p.memory.room.Shrink(p.needs(size))
		}
		part := p.part(records, left == 0)
		done, returned := p.memory.lend(left > 0)
		part.Done = done
		if !yield(part, nil) {
			return false, nil
		}
		if left == 0 {
			return true, nil
		}
		select {
		case <-returned:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// needs returns how many bytes the page takes while so many of its records are
// handed out.
func (p *page) needs(size int) int64 {
	room := int64(cap(p.buf)) + int64(cap(p.reply.records))*rawRoom + int64(size)*recordRoom
	if p.total > len(p.reply.records) { // there are aggregates
		room += maxKeys * keyRoom
	}
	return room
}

// part returns some of the page's records as a Page. Only the last one shows
// what comes after the page.
func (p *page) part(records []gerritstream.Record, last bool) gerritstream.Page {
	out := gerritstream.Page{Records: records, Now: p.now, Lag: p.reply.lag}
	if p.reply.lag == unknownLag || !last && p.reply.lag == 0 {
		out.Lag = time.Millisecond // not known to be the tip
	}
	if last && p.reply.next == "" {
		out.End, out.Children = true, p.reply.children
	}
	return out
}

// count checks all aggregates and returns how many records the page expands to.
func (p *page) count() int {
	total := 0
	for i := range p.reply.records {
		r := &p.reply.records[i]
		r.subs = countAggregate(r.data.of(p.buf))
		total += max(1, r.subs)
	}
	return total
}

// arrival returns when a record arrived. A service that does not report it
// leaves the time of the request.
func (p *page) arrival(r *rawRecord) time.Time {
	if r.arrived == noArrival {
		return p.now
	}
	return time.UnixMilli(r.arrived).UTC()
}

// unpacker turns a page into Records, in order.
type unpacker struct {
	page    *page
	at      int    // the record of the page that comes next
	sub     int    // within it, if it is an aggregate
	message []byte // what is left of it

	keys, hashKeys keyTable
}

// next returns the next n records; the page must have that many left. Their
// sequence numbers share one string.
func (u *unpacker) next(n int) []gerritstream.Record {
	p := u.page
	records := make([]gerritstream.Record, 0, n)
	from := u.at
	for len(records) < n {
		r := &p.reply.records[u.at]
		rec := gerritstream.Record{Sub: gerritstream.NoSub, Last: true, Arrived: p.arrival(r), Data: r.data.of(p.buf)}
		if r.key != (span{}) {
			rec.Key = r.key.of(p.buf)
		}
		switch {
		case r.subs < 0:
			rec.Bad, rec.Detail = gerritstream.ReasonAggregate, aggregateFaults[r.subs]
		case r.subs > 0:
			u.unpack(r, &rec)
		}
		records = append(records, rec)
		if rec.Last {
			u.at++
		}
	}
	u.nameAll(records, from)
	return records
}

// unpack makes rec the next record of the aggregate r.
func (u *unpacker) unpack(r *rawRecord, rec *gerritstream.Record) {
	own := u.page.own
	if u.sub == 0 {
		u.message = aggregateMessage(rec.Data)
		u.keys.fill(keysField, u.message)
		if own != nil {
			u.hashKeys.fill(hashKeysField, u.message)
		}
	}
	record, rest, _ := nextRecord(u.message)
	u.message = rest
	rec.Data, _ = recordData(record)
	rec.Key = u.keys.of(record)
	if own != nil {
		rec.Foreign = own.isForeign(rec.Key, u.hashKeys.of(record))
	}
	rec.Sub, rec.Last = u.sub, u.sub == r.subs-1
	u.sub++
	if rec.Last {
		u.sub, u.message = 0, nil
	}
}

// nameAll gives the records their sequence numbers; the first belongs to the
// page's record at from.
func (u *unpacker) nameAll(records []gerritstream.Record, from int) {
	raw := u.page.reply.records
	size, last := 0, min(u.at, len(raw)-1)
	for i := from; i <= last; i++ {
		size += raw[i].seq.to - raw[i].seq.from
	}
	var names strings.Builder
	names.Grow(size)
	for i := from; i <= last; i++ {
		names.Write(raw[i].seq.of(u.page.buf))
	}
	all, at := names.String(), from
	seq := raw[at].seq
	for i := range records {
		records[i].Seq = gerritstream.SequenceNumber(all[:seq.to-seq.from])
		if records[i].Last && i < len(records)-1 {
			all, at = all[seq.to-seq.from:], at+1
			seq = raw[at].seq
		}
	}
}
