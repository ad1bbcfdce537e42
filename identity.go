package gerritstream

import (
	"crypto/sha1" //nolint:gosec // RFC 9562 defines version 5 with it; nothing secret depends on it
	"encoding/hex"
	"strconv"
)

// EventID is an event's identity: the same on every delivery, by every process,
// for ever.
type EventID [16]byte

// eventNamespace is the fixed namespace of all event ids (RFC 9562, version 5).
// Changing it would deliver everything twice.
var eventNamespace = [16]byte{0x5c, 0x1f, 0x0b, 0x52, 0x9a, 0x7e, 0x4c, 0x55, 0x8a, 0x3d, 0x2e, 0x41, 0x7b, 0x90, 0xd6, 0x13}

// NewEventID returns the id of a record: a UUID of version 5 over the stream's
// ARN and creation time in milliseconds, the shard, the sequence number and the
// index within an aggregate (NoSub: none).
func NewEventID(stream Stream, shard ShardID, seq SequenceNumber, sub int) EventID {
	buf := make([]byte, 0, 256)
	buf = append(buf, eventNamespace[:]...)
	buf = append(buf, stream.ARN...)
	buf = append(buf, '\n')
	buf = strconv.AppendInt(buf, stream.Created.UnixMilli(), 10)
	buf = append(buf, '\n')
	buf = append(buf, shard...)
	buf = append(buf, '\n')
	buf = append(buf, seq...)
	buf = append(buf, '\n')
	buf = strconv.AppendInt(buf, int64(sub), 10)
	sum := sha1.Sum(buf) //nolint:gosec // see above
	var id EventID
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// String returns the 32 lowercase hexadecimal digits by which queues and
// CloudEvents name the event.
func (id EventID) String() string { return hex.EncodeToString(id[:]) }

// AppendText appends what String returns. It implements encoding.TextAppender.
func (id EventID) AppendText(b []byte) ([]byte, error) { return hex.AppendEncode(b, id[:]), nil }

// MarshalText returns what String returns. It implements
// encoding.TextMarshaler.
func (id EventID) MarshalText() ([]byte, error) { return id.AppendText(nil) }
