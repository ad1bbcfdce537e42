package kinesis

import (
	"math"

	"github.com/gerritstream/gerritstream"
)

// decodeCBOR decodes a GetRecords reply of application/x-amz-cbor-1.1 in one
// pass. The records' data stays where it is in b; only strings that come in
// chunks are joined there. limit is that of decodeReply.
//
// AWS writes data as bytes and times in milliseconds since 1970, as integers
// with the tag 1, which RFC 8949 has for seconds. Other services write base64
// in texts and seconds as floats, with or without the tag.
func decodeCBOR(b []byte, limit int) (*reply, error) {
	d := cborDecoder{in: cborScanner{b: b}, reply: reply{
		records: make([]rawRecord, 0, expectedRecords(len(b), limit)),
		lag:     unknownLag,
	}}
	if err := d.in.object(d.member); err != nil {
		return nil, err
	}
	if !d.complete {
		return nil, d.in.expected("Records")
	}
	if d.in.at < len(b) {
		return nil, d.in.expected("nothing more")
	}
	d.reply.shrink()
	return &d.reply, nil
}

type cborDecoder struct {
	in       cborScanner
	reply    reply
	complete bool // the reply has Records
}

// member takes a value of the reply itself.
func (d *cborDecoder) member(key []byte) error {
	switch string(key) {
	case "Records":
		d.reply.records, d.reply.weight, d.complete = d.reply.records[:0], 0, true
		if d.in.null() { // it is not an empty page: the records at the iterator would be skipped
			return d.in.expected("an array")
		}
		return d.in.array(d.record)
	case nextIterator:
		return d.optional(&d.reply.next)
	case "MillisBehindLatest":
		return d.lag()
	case "ChildShards":
		d.reply.children = nil
		return d.in.array(d.child)
	}
	return d.in.skip()
}

// optional takes a text, or a null for the empty one.
func (d *cborDecoder) optional(to *string) error {
	*to = ""
	if d.in.null() {
		return nil
	}
	text, err := d.in.text()
	*to = string(text.of(d.in.b))
	return err
}

func (d *cborDecoder) lag() error {
	d.reply.lag = unknownLag
	if d.in.null() {
		return nil
	}
	h, err := d.in.head()
	switch {
	case err != nil:
		return err
	case h.major > cborNegative || h.value > math.MaxInt64:
		return d.in.expected("a whole number of milliseconds")
	case h.major == cborUint:
		d.reply.lag = lagOf(int64(h.value)) //nolint:gosec // no larger than that
	}
	return nil
}

// child takes one of ChildShards.
func (d *cborDecoder) child() error {
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
func (d *cborDecoder) record() error {
	r := rawRecord{arrived: noArrival}
	hasData := false
	left, err := d.in.begin(cborMap, "a map")
	if err != nil {
		return err
	}
	for !d.in.ends(&left) {
		name, err := d.in.text()
		if err != nil {
			return err
		}
		switch string(name.of(d.in.b)) {
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
		if err != nil {
			return err
		}
	}
	if lacks := d.reply.add(&r, hasData); lacks != "" {
		return d.in.expected(lacks)
	}
	return nil
}

// key takes a partition key.
func (d *cborDecoder) key() (span, error) {
	if d.in.peek() != cborText {
		return span{}, d.in.skip()
	}
	return d.in.text()
}

// data takes bytes, or a text of base64, which it decodes in place.
func (d *cborDecoder) data() (span, error) {
	h, err := d.in.head()
	switch {
	case err != nil:
		return span{}, err
	case h.major != cborBytes && h.major != cborText:
		return span{}, d.in.expected("bytes")
	}
	raw, err := d.in.bytes(h)
	if err != nil || h.major == cborBytes {
		return raw, err
	}
	n, ok := decodeInPlace(raw.of(d.in.b))
	if !ok {
		return span{}, d.in.expected("base64")
	}
	return span{raw.from, raw.from + n}, nil
}

// sequence takes a sequence number.
func (d *cborDecoder) sequence() (span, error) {
	raw, err := d.in.text()
	if err != nil {
		return span{}, err
	}
	if !isSequence(raw.of(d.in.b)) {
		return span{}, d.in.expected("a sequence number")
	}
	return raw, nil
}

// firstMillis tells times in milliseconds from those in seconds: as the former
// it is in the year 1973, before there was a Kinesis, as the latter in 5138.
const firstMillis = 100_000_000_000

// arrival takes a time and returns it in milliseconds.
func (d *cborDecoder) arrival() (int64, error) {
	if d.in.null() {
		return noArrival, nil
	}
	h, err := d.in.head()
	if err != nil {
		return 0, err
	}
	number := h.float()
	if math.IsNaN(number) || number < 0 {
		return 0, errArrival
	}
	if number < firstMillis {
		number *= 1000
	}
	if number = math.Floor(number + 0.5); number > lastArrival {
		return 0, errArrival
	}
	return int64(number), nil
}

// cborFault is an answer that reports a fault in CBOR.
type cborFault struct{ code, message string }

// decodeFault takes what it can of such an answer.
func decodeFault(body []byte) (fault cborFault) {
	in := cborScanner{b: body}
	_ = in.object(func(key []byte) error {
		to := &fault.message
		switch string(key) {
		case "message", "Message":
		case "__type":
			to = &fault.code
		default:
			return in.skip()
		}
		if in.peek() != cborText {
			return in.skip()
		}
		text, err := in.text()
		*to = string(text.of(body))
		return err
	})
	return fault
}
