package kinesis

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the format has it, as a checksum

	"google.golang.org/protobuf/encoding/protowire"
)

// A record that the Kinesis Producer Library put together of several ones: four
// bytes that say so, a protobuf message, and the MD5 of the message. Of the
// message fields 1 to 3 matter here, the keys and the records, and of each
// record its fields 1 to 3, the keys' indexes and the data:
//
//	message AggregatedRecord { repeated string partition_key_table = 1; repeated string explicit_hash_key_table = 2;
//	                           repeated Record records = 3; }
//	message Record { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2;
//	                 required bytes data = 3; repeated Tag tags = 4; }
var aggregateMagic = []byte{0xF3, 0x89, 0x9A, 0xC2}

const (
	keysField     = 1 // of the message, and of a record that has such a key
	hashKeysField = 2 // likewise
	recordsField  = 3
	dataField     = 3
)

// What countAggregate answers for a record that is none, and, below zero, for
// one that claims to be one and is not a sound one.
const (
	plain = -iota
	tooShort
	badChecksum
	badMessage
	noData
	noRecords
)

const aggregateFrame = 4 + md5.Size

// aggregateFaults says in words what is wrong with an aggregate, by
// countAggregate's answer. It is never written to.
var aggregateFaults = map[int]string{
	tooShort:    "the aggregate is shorter than its magic number and its checksum",
	badChecksum: "the aggregate's checksum is not that of its message",
	badMessage:  "the aggregate's message is no sound protobuf message",
	noData:      "a record within the aggregate has no data, or is broken",
	noRecords:   "the aggregate holds no record",
}

// countAggregate says how many records an aggregate holds, after checking all
// of it. It allocates nothing.
func countAggregate(data []byte) int {
	if !bytes.HasPrefix(data, aggregateMagic) {
		return plain
	}
	if len(data) < aggregateFrame {
		return tooShort
	}
	message := aggregateMessage(data)
	if md5.Sum(message) != [md5.Size]byte(data[len(data)-md5.Size:]) { //nolint:gosec // see above
		return badChecksum
	}
	count := 0
	for len(message) > 0 {
		record, rest, ok := nextField(message, recordsField)
		if !ok {
			return badMessage
		}
		message = rest
		if record == nil {
			continue
		}
		if _, ok := recordData(record); !ok {
			return noData
		}
		count++
	}
	if count == 0 {
		return noRecords
	}
	return count
}

// aggregateMessage is the message of an aggregate: what is between magic and
// checksum.
func aggregateMessage(data []byte) []byte { return data[len(aggregateMagic) : len(data)-md5.Size] }

// nextRecord returns the next record of a message that countAggregate accepted,
// and the message behind it. more is false when there is none.
func nextRecord(message []byte) (record, rest []byte, more bool) {
	for len(message) > 0 {
		record, rest, ok := nextField(message, recordsField)
		if !ok {
			return nil, nil, false
		}
		message = rest
		if record != nil {
			return record, message, true
		}
	}
	return nil, nil, false
}

// maxKeys is how many keys of a sort are looked up in an aggregate; those
// behind are not known.
const maxKeys = 10_000

// keyRoom is what the tables of both sorts take for each of them.
const keyRoom = 2 * 4

// keyTable says where the keys of one sort stand in the message of an
// aggregate.
type keyTable struct {
	field   protowire.Number // of the keys in the message, and of a key's index in a record
	message []byte
	starts  []uint32
}

// fill notes the keys of a message. Every known producer writes them in front
// of the records.
func (t *keyTable) fill(field protowire.Number, message []byte) {
	t.field, t.message, t.starts = field, message, t.starts[:0]
	for rest := message; len(rest) > 0 && len(t.starts) < maxKeys; {
		number, kind, n := protowire.ConsumeField(rest)
		if number == recordsField || n < 0 {
			return
		}
		if number == field && kind == protowire.BytesType {
			t.starts = append(t.starts, uint32(len(message)-len(rest))) //nolint:gosec // a record has at most 10 MiB
		}
		rest = rest[n:]
	}
}

// of returns the key of a record; nil: it has none, or it is not known.
func (t *keyTable) of(record []byte) []byte {
	for len(record) > 0 {
		number, kind, n := protowire.ConsumeTag(record)
		if n < 0 {
			return nil
		}
		if number == t.field && kind == protowire.VarintType {
			index, _ := protowire.ConsumeVarint(record[n:])
			if index >= uint64(len(t.starts)) {
				return nil
			}
			key, _, _ := nextField(t.message[t.starts[index]:], t.field)
			return key
		}
		size := protowire.ConsumeFieldValue(number, kind, record[n:])
		if size < 0 {
			return nil
		}
		record = record[n+size:]
	}
	return nil
}

// nextField takes a field off a message and returns its bytes if it is the one
// wanted, else nil. ok is false when the message is broken.
func nextField(message []byte, want protowire.Number) (value, rest []byte, ok bool) {
	number, kind, n := protowire.ConsumeTag(message)
	if n < 0 || !number.IsValid() {
		return nil, nil, false
	}
	message = message[n:]
	if number != want {
		n = protowire.ConsumeFieldValue(number, kind, message)
		if n < 0 {
			return nil, nil, false
		}
		return nil, message[n:], true
	}
	if kind != protowire.BytesType {
		return nil, nil, false
	}
	value, n = protowire.ConsumeBytes(message)
	if n < 0 {
		return nil, nil, false
	}
	return value[:len(value):len(value)], message[n:], true
}

// recordData returns the data of a record inside an aggregate: of several, the
// last, as protobuf has it.
func recordData(record []byte) (data []byte, ok bool) {
	for len(record) > 0 {
		value, rest, sound := nextField(record, dataField)
		if !sound {
			return nil, false
		}
		record = rest
		if value != nil {
			data, ok = value, true
		}
	}
	return data, ok
}
