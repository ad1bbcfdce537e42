package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/gerritstream/gerritstream"
)

// What a page may need at worst. A page is at most 10 MiB of data and keys and
// 10,000 records: 13.4 MiB of base64 and up to 2 MiB of JSON around it, and
// then one gerritstream.Record and one sequence number a record. A reply that
// needs more room than that (keys full of escapes) is asked for again with half
// as many records.
const (
	maxRecords  = 10_000
	maxBody     = 16 << 20
	rawRoom     = int64(unsafe.Sizeof(rawRecord{}))
	recordRoom  = int64(unsafe.Sizeof(gerritstream.Record{})) + maxSequenceDigits
	pageReserve = maxBody + maxRecords*(rawRoom+recordRoom) + maxKeys*keyRoom
)

// PageReserve is how many bytes of its budget a Source reserves at most for
// each read, before it: about 19 MiB. It does where it is behind; at the tip it
// reserves twice what pages have lately taken. A page there that is larger
// takes more if that is free, and is otherwise dropped and read again with all
// of the reserve. Of the reserve a Source keeps what the page takes, and
// nothing while it waits for the next one. A budget lets so many reads be under
// way at once as this goes into it; one that is smaller is exceeded.
const PageReserve = pageReserve

// leastRoom is reserved for a page at any rate: thousands of bytes of events,
// and a thousand reads at once in the default budget.
const minReserve = 256 << 10

// errTooLarge: a reply has more bytes than a page may have. errNoRoom: it has
// more than were reserved, and no more are free.
var (
	errTooLarge = errors.New("the reply is larger than the room for a page")
	errNoRoom   = errors.New("the reply is larger than what was reserved for it")
)

// readBody reads a reply into one buffer. length is -1 when it is not known.
// Before it takes memory it asks grow whether there is room for so many bytes
// in all.
func readBody(body io.Reader, length int64, grow func(int64) bool) ([]byte, error) {
	if length > maxBody {
		return nil, fmt.Errorf("%w: %d bytes", errTooLarge, length)
	}
	if length >= 0 {
		if !grow(length) {
			return nil, errNoRoom
		}
		buf := make([]byte, length)
		if _, err := io.ReadFull(body, buf); err != nil {
			return nil, cutShort(err)
		}
		return buf, nil
	}
	buf := make([]byte, 0, 64<<10)
	for {
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, cutShort(err)
		case len(buf) < cap(buf):
		case cap(buf) == maxUnknownBody:
			return nil, errTooLarge
		default: // the old buffer and the new one together stay below the reserve: at most 4 and 14 MiB
			larger := min(4*cap(buf), maxUnknownBody)
			if !grow(int64(cap(buf) + larger)) {
				return nil, errNoRoom
			}
			buf = append(make([]byte, 0, larger), buf...)
		}
	}
}

// maxUnknownBody is the most that is read of a reply that does not tell its
// length beforehand.
const maxUnknownBody = 14 << 20

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read the reply: %w", err)
}

// page is a decoded reply with the memory it takes.
type page struct {
	reply  *reply
	buf    []byte
	total  int        // of the records, those within aggregates counted
	own    *hashRange // the shard's; nil: records of other shards are not marked
	now    time.Time  // not later than when it was asked for
	memory memory
}

// memory is a page's reservation: it is given back when no batch will come any
// more and the last one is done.
type memory struct {
	room *Reservation

	mu   sync.Mutex
	out  bool // under mu: a batch is out
	more bool // under mu: another one will come
}

// lend notes that a batch goes out, and returns what ends that, and a channel
// that is closed then.
func (m *memory) lend(more bool) (done func(), returned <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out, m.more = true, more
	back := make(chan struct{})
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.out = false
		if !m.more {
			m.room.Release()
		}
		close(back)
	}), back
}

// noMore says that no batch will come any more.
func (m *memory) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.more = false
	if !m.out {
		m.room.Release()
	}
}

// yield hands the page on: in one batch, or, when aggregates make more than
// 10,000 records of it, in several, each after the one before is done. It
// returns whether to go on, and the context's error when that ended in between.
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
		batch := p.part(records, left == 0)
		done, returned := p.memory.lend(left > 0)
		batch.Done = done
		if !yield(batch, nil) {
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

// needs is how many bytes the page takes while so many of its records are out.
func (p *page) needs(size int) int64 {
	room := int64(cap(p.buf)) + int64(cap(p.reply.records))*rawRoom + int64(size)*recordRoom
	if p.total > len(p.reply.records) { // there are aggregates
		room += maxKeys * keyRoom
	}
	return room
}

// batch makes a batch of some of the page's records. Only the last one tells
// what comes after the page.
func (p *page) part(records []gerritstream.Record, last bool) gerritstream.Page {
	b := gerritstream.Page{Records: records, Now: p.now, Lag: p.reply.lag}
	if p.reply.lag == unknownLag || !last && p.reply.lag == 0 {
		b.Lag = time.Millisecond // not known to be the tip
	}
	if last && p.reply.next == "" {
		b.End, b.Children = true, p.reply.children
	}
	return b
}

// count looks into all aggregates and returns how many records the page comes
// to.
func (p *page) count() int {
	total := 0
	for i := range p.reply.records {
		r := &p.reply.records[i]
		r.subs = countAggregate(r.data.of(p.buf))
		total += max(1, r.subs)
	}
	return total
}

// unpacker makes Records of a page, in order.
type unpacker struct {
	page    *page
	at      int    // the record of the page that comes next
	sub     int    // of it, if it is an aggregate
	message []byte // what is left of it

	keys, hashKeys keyTable
}

// next returns the next n records, which there must be. Their sequence numbers
// share one string.
func (u *unpacker) next(n int) []gerritstream.Record {
	records := make([]gerritstream.Record, 0, n)
	from := u.at
	for len(records) < n {
		r := &u.page.reply.records[u.at]
		rec := gerritstream.Record{Sub: gerritstream.NoSub, Last: true, Arrived: u.page.arrival(r), Data: r.data.of(u.page.buf), Key: u.page.key(r)}
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
	if u.sub == 0 {
		u.message = aggregateMessage(rec.Data)
		u.keys.fill(keysField, u.message)
		if u.page.own != nil {
			u.hashKeys.fill(hashKeysField, u.message)
		}
	}
	record, rest, _ := nextRecord(u.message)
	u.message = rest
	rec.Data, _ = recordData(record)
	rec.Key = u.keys.of(record)
	if u.page.own != nil {
		rec.Foreign = u.page.own.isForeign(rec.Key, u.hashKeys.of(record))
	}
	rec.Sub, rec.Last = u.sub, u.sub == r.subs-1
	u.sub++
	if rec.Last {
		u.sub, u.message = 0, nil
	}
}

// key is the partition key of a record; nil: the reply has none.
func (p *page) key(r *rawRecord) []byte {
	if r.key == (span{}) {
		return nil
	}
	return r.key.of(p.buf)
}

// arrival is when a record arrived: a service that does not tell leaves when
// the page was asked for.
func (p *page) arrival(r *rawRecord) time.Time {
	if r.arrived == noArrival {
		return p.now
	}
	return time.UnixMilli(r.arrived).UTC()
}

// nameAll gives the records their sequence numbers; the first belongs to the
// page's record at from.
func (u *unpacker) nameAll(records []gerritstream.Record, from int) {
	size, last := 0, min(u.at, len(u.page.reply.records)-1)
	for i := from; i <= last; i++ {
		size += u.page.reply.records[i].seq.to - u.page.reply.records[i].seq.from
	}
	var names strings.Builder
	names.Grow(size)
	for i := from; i <= last; i++ {
		names.Write(u.page.reply.records[i].seq.of(u.page.buf))
	}
	all, at := names.String(), from
	seq := u.page.reply.records[at].seq
	for i := range records {
		records[i].Seq = gerritstream.SequenceNumber(all[:seq.to-seq.from])
		if records[i].Last && i < len(records)-1 {
			all, at = all[seq.to-seq.from:], at+1
			seq = u.page.reply.records[at].seq
		}
	}
}
