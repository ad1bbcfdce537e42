package kinesis

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the format has it, as a checksum

	"google.golang.org/protobuf/encoding/protowire"
)

// An aggregate is a record that the Kinesis Producer Library packed from
// several: four magic bytes, a protobuf message, and the message's MD5. Of the
// message:
//
//	message AggregatedRecord {
//		repeated string partition_key_table = 1;
//		repeated string explicit_hash_key_table = 2;
//		repeated Record records = 3;
//	}
//	message Record {
//		required uint64 partition_key_index = 1;
//		optional uint64 explicit_hash_key_index = 2;
//		required bytes data = 3;
//		repeated Tag tags = 4; // ignored here
//	}
var aggregateMagic = []byte{0xF3, 0x89, 0x9A, 0xC2}

const (
	keysField     = 1 // in the message the keys, in a record the index of its own
	hashKeysField = 2 // likewise
	recordsField  = 3
	dataField     = 3
)

// Results of countAggregate for a record that is no aggregate and, below zero,
// for one that is corrupt.
const (
	plain = -iota
	tooShort
	badChecksum
	badMessage
	noData
	noRecords
)

const aggregateFrame = 4 + md5.Size

// aggregateFaults describes each corruption that countAggregate returns. It is
// never written to.
var aggregateFaults = map[int]string{
	tooShort:    "the aggregate is shorter than its magic number and its checksum",
	badChecksum: "the aggregate's checksum does not match its message",
	badMessage:  "the aggregate's message is not valid protobuf",
	noData:      "a record within the aggregate has no data or is corrupt",
	noRecords:   "the aggregate holds no record",
}

// countAggregate checks all of an aggregate and returns how many records it
// holds. It allocates nothing.
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
	for count := 0; ; count++ {
		record, rest, ok := nextRecord(message)
		switch {
		case !ok:
			return badMessage
		case record == nil && count == 0:
			return noRecords
		case record == nil:
			return count
		}
		message = rest
		if _, ok := recordData(record); !ok {
			return noData
		}
	}
}

// aggregateMessage returns what stands between magic and checksum.
func aggregateMessage(data []byte) []byte { return data[len(aggregateMagic) : len(data)-md5.Size] }

// nextRecord returns the next record of a message, nil at the end, and the rest
// of the message. ok is false if the message is corrupt.
func nextRecord(message []byte) (record, rest []byte, ok bool) {
	for ok = true; ok && record == nil && len(message) > 0; {
		record, message, ok = nextField(message, recordsField)
	}
	return record, message, ok
}

const (
	maxKeys = 10_000 // of each kind; later ones in an aggregate stay unknown
	keyRoom = 2 * 4  // bytes that the tables of both kinds take for each of them
)

// keyTable locates the keys of one kind in the message of an aggregate.
type keyTable struct {
	field   protowire.Number // keysField or hashKeysField
	message []byte
	starts  []uint32
}

// fill locates the keys of a message. Every known producer writes them before
// the records.
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

// of returns the key of a record; nil: none, or unknown.
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

// nextField takes a field off a message and returns its bytes if it is the
// wanted one, else nil. ok is false if the message is corrupt.
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

// recordData returns the data of a record within an aggregate: the last of
// several, as protobuf defines.
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
