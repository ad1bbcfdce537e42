package gerritstream

import (
	"crypto/sha1" //nolint:gosec // RFC 9562 defines version 5 with it; nothing secret depends on it
	"encoding/hex"
	"strconv"
)

// EventID identifies an event: the same on every delivery, by every process,
// for ever.
type EventID [16]byte

// eventNamespace is the namespace of all event IDs (RFC 9562, version 5).
// Changing it would deliver everything twice.
const eventNamespace = "\x5c\x1f\x0b\x52\x9a\x7e\x4c\x55\x8a\x3d\x2e\x41\x7b\x90\xd6\x13"

// NewEventID returns the ID of a record: a UUID of version 5 over the stream's
// ARN and creation time in milliseconds, the shard, the sequence number and the
// index within an aggregate (NoSub: none).
func NewEventID(stream Stream, shard ShardID, seq SequenceNumber, sub int) EventID {
	buf := make([]byte, 0, 256) // on the stack: this runs for each record
	buf = append(append(buf, eventNamespace...), stream.ARN...)
	buf = strconv.AppendInt(append(buf, '\n'), stream.Created.UnixMilli(), 10)
	buf = append(append(buf, '\n'), shard...)
	buf = append(append(buf, '\n'), seq...)
	buf = strconv.AppendInt(append(buf, '\n'), int64(sub), 10)
	sum := sha1.Sum(buf) //nolint:gosec // see above
	id := EventID(sum[:16])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// String returns the 32 lowercase hexadecimal digits by which queues and
// CloudEvents name the event.
func (id EventID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText returns what String returns.
func (id EventID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }
