package kinesis

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
)

// reply is a decoded GetRecords reply, or an event of a subscription. Its spans
// are places in the buffer that it was decoded from.
type reply struct {
	records  []rawRecord
	next     string        // the next iterator, or where the next subscription begins; "": none, see checkEnd
	lag      time.Duration // MillisBehindLatest; unknownLag
	children []gerritstream.ShardID
	weight   int // bytes that count against the shard's read limit: data and partition keys
}

// rawRecord is a record whose data has been decoded in place.
type rawRecord struct {
	seq, data span
	key       span  // the partition key
	arrived   int64 // ms; noArrival
	subs      int   // see countAggregate
}

// Values of fields that a reply lacks.
const (
	noArrival  = -1
	unknownLag = time.Duration(-1)
)

// nextIterator is the member that decodeReply and decodeCBOR take as next.
const nextIterator = "NextShardIterator"

// decodeReply decodes a GetRecords reply in one pass. Each record's data
// overwrites its base64 in b. limit is how many records were asked for; it
// bounds what is allocated beforehand, not what is accepted.
func decodeReply(b []byte, limit int) (*reply, error) {
	return decode(b, 0, nextIterator, limit)
}

// decodeEvent decodes an event likewise.
func decodeEvent(f *frame) (*reply, error) {
	return decode(f.buf[:f.payload.to], f.payload.from, "ContinuationSequenceNumber", maxRecords)
}

// decode decodes what stands in b from a place on. nextKey is the name of what
// comes next.
func decode(b []byte, at int, nextKey string, limit int) (*reply, error) {
	d := decoder{in: scanner{b: b, at: at}, nextKey: nextKey, reply: reply{
		records: make([]rawRecord, 0, expectedRecords(len(b)-at, limit)),
		lag:     unknownLag,
	}}
	if err := d.in.object(d.member); err != nil {
		return nil, err
	}
	if !d.complete {
		return nil, d.in.expected("Records")
	}
	if d.in.peek(); d.in.at < len(b) {
		return nil, d.in.expected("nothing more")
	}
	d.reply.shrink()
	return &d.reply, nil
}

// shrink gives room back: records larger than expected leave much of it unused,
// perhaps for long.
func (r *reply) shrink() {
	if n := len(r.records); n < cap(r.records)/2 {
		r.records = append(make([]rawRecord, 0, n), r.records...)
	}
}

// add adds a record, or returns what it lacks.
func (r *reply) add(rec *rawRecord, hasData bool) (lacks string) {
	switch {
	case rec.seq.from == rec.seq.to:
		return "a record with a sequence number"
	case !hasData:
		return "a record with data"
	}
	r.weight += rec.data.to - rec.data.from + rec.key.to - rec.key.from
	r.records = append(r.records, *rec)
	return ""
}

// lagOf is the lag of so many ms; negative ones say nothing.
func lagOf(ms int64) time.Duration {
	if ms < 0 {
		return unknownLag
	}
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// expectedRecords estimates how many records a reply of so many bytes holds.
func expectedRecords(bytes, limit int) int {
	const smallest = 128 // bytes of a record without data, in CBOR
	return min(limit, bytes/smallest+1)
}

type decoder struct {
	in       scanner
	nextKey  string
	reply    reply
	complete bool // the reply has Records
}

// member takes a value of the reply itself.
func (d *decoder) member(key []byte) error {
	switch string(key) {
	case "Records":
		d.reply.records, d.reply.weight, d.complete = d.reply.records[:0], 0, true
		if d.in.peek() != '[' { // null is not an empty page: the records at the iterator would be skipped
			return d.in.expected("[")
		}
		return d.in.array(d.record)
	case d.nextKey:
		return d.optional(&d.reply.next)
	case "MillisBehindLatest":
		return d.lag()
	case "ChildShards":
		d.reply.children = nil
		return d.in.array(d.child)
	}
	return d.in.skip()
}

// optional takes a string, or a null for the empty one.
func (d *decoder) optional(to *string) error {
	*to = ""
	if d.in.null() {
		return nil
	}
	text, err := d.in.text()
	*to = string(text)
	return err
}

func (d *decoder) lag() error {
	d.reply.lag = unknownLag
	if d.in.null() {
		return nil
	}
	number, err := d.in.number()
	if err != nil {
		return err
	}
	ms, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil {
		return d.in.expected("a whole number of milliseconds")
	}
	d.reply.lag = lagOf(ms)
	return nil
}

// child takes one of ChildShards.
func (d *decoder) child() error {
	id := ""
	err := d.in.object(func(key []byte) error {
		if string(key) == "ShardId" {
			return d.optional(&id)
		}
		return d.in.skip()
	})
	if err == nil && id != "" {
		d.reply.children = append(d.reply.children, gerritstream.ShardID(id))
	}
	return err
}

// record takes one of Records.
func (d *decoder) record() error {
	r := rawRecord{arrived: noArrival}
	hasData := false
	err := d.in.object(func(name []byte) (err error) {
		switch string(name) {
		case "Data":
			hasData = true
			r.data, err = d.data()
		case "SequenceNumber":
			r.seq, err = d.sequence()
		case "ApproximateArrivalTimestamp":
			r.arrived, err = d.arrival()
		case "PartitionKey":
			r.key, err = d.key()
		default:
			err = d.in.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if lacks := d.reply.add(&r, hasData); lacks != "" {
		return d.in.expected(lacks)
	}
	return nil
}

// key takes a partition key and resolves its escapes in place. A text that is
// not UTF-8 may grow by that: what has no room is cut off.
func (d *decoder) key() (span, error) {
	if d.in.peek() != '"' {
		return span{}, d.in.skip()
	}
	at := d.in.at + 1
	text, err := d.in.text()
	if err != nil {
		return span{}, err
	}
	return span{at, at + copy(d.in.b[at:d.in.at-1], text)}, nil
}

// data takes base64 and decodes it in place.
func (d *decoder) data() (span, error) {
	raw, escaped, err := d.in.quoted()
	if err != nil {
		return span{}, err
	}
	if escaped {
		return d.escapedData(raw)
	}
	n, ok := decodeInPlace(raw.of(d.in.b))
	if !ok {
		return span{}, d.in.expected("base64")
	}
	return span{raw.from, raw.from + n}, nil
}

// escapedData is for producers of JSON that escape the slashes of base64, or
// break its lines.
func (d *decoder) escapedData(raw span) (span, error) {
	text, err := d.in.unquote(raw)
	if err != nil {
		return span{}, err
	}
	data, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return span{}, d.in.expected("base64")
	}
	return span{raw.from, raw.from + copy(d.in.b[raw.from:raw.to], data)}, nil // shorter than its base64
}

// sequence takes a sequence number. It refuses what
// gerritstream.ParseSequenceNumber would: what could not be stored must not get
// further.
func (d *decoder) sequence() (span, error) {
	raw, escaped, err := d.in.quoted()
	if err != nil {
		return span{}, err
	}
	if escaped || !isSequence(raw.of(d.in.b)) {
		return span{}, d.in.expected("a sequence number")
	}
	return raw, nil
}

// maxSequenceDigits is what gerritstream.ParseSequenceNumber accepts.
const maxSequenceDigits = 128

// isSequence is gerritstream.ParseSequenceNumber without making a string.
func isSequence(b []byte) bool {
	if len(b) == 0 || len(b) > maxSequenceDigits || b[0] == '0' && len(b) > 1 {
		return false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func (d *decoder) arrival() (int64, error) {
	if d.in.null() {
		return noArrival, nil
	}
	number, err := d.in.number()
	if err != nil {
		return 0, err
	}
	return parseSeconds(number)
}

// invalidDigit marks a byte that is not a base64 digit. A digit's value takes
// 24 bits at its place in a group of four, so that an invalid one shows in the
// bits above after the four are joined.
const invalidDigit = 0xff << 24

// base64Digits holds the value of every byte as the first, second, third and
// fourth digit of a group of four. It is never written to.
var base64Digits = func() (t [4][256]uint32) {
	for place := range t {
		for b := range t[place] {
			t[place][b] = invalidDigit
		}
		for value, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
			t[place][b] = uint32(value) << (18 - 6*place)
		}
	}
	return t
}()

// decodeInPlace decodes canonical base64, padded and without line breaks, into
// the beginning of its own bytes, and returns how many they are. ok is false
// for anything else; text is then partly overwritten.
func decodeInPlace(text []byte) (n int, ok bool) {
	if len(text)%4 != 0 {
		return 0, false
	}
	whole := len(text)
	if whole > 0 && text[whole-1] == '=' {
		whole -= 4
	}
	d0, d1, d2, d3 := &base64Digits[0], &base64Digits[1], &base64Digits[2], &base64Digits[3]
	bad := uint32(0)
	for i := 0; i < whole; i += 4 {
		in := text[i : i+4 : i+4]
		v := d0[in[0]] | d1[in[1]] | d2[in[2]] | d3[in[3]]
		bad |= v
		out := text[n : n+3 : n+3] // n <= i: what is written has been read
		out[0], out[1], out[2] = byte(v>>16), byte(v>>8), byte(v)
		n += 3
	}
	if bad >= 1<<24 {
		return 0, false
	}
	if whole == len(text) {
		return n, true
	}
	return decodeLast(text, whole, n)
}

// decodeLast decodes the padded group at a place to the place n. Inlined, it
// would slow the loop of decodeInPlace down.
//
//go:noinline
func decodeLast(text []byte, at, n int) (int, bool) {
	v := base64Digits[0][text[at]] | base64Digits[1][text[at+1]]
	if text[at+2] == '=' { // two digits, one byte
		text[n] = byte(v >> 16)
		return n + 1, v < 1<<24
	}
	v |= base64Digits[2][text[at+2]]
	text[n], text[n+1] = byte(v>>16), byte(v>>8)
	return n + 2, v < 1<<24
}
