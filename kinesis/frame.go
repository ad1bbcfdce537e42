package kinesis

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/aws/smithy-go"
)

// A subscription's reply is a sequence of frames of
// application/vnd.amazon.eventstream, all numbers big-endian:
//
//	prelude: length of the frame 4 | length of its headers 4 | CRC-32 of both 4
//	headers: length of the name 1 | name | type of the value 1 | value
//	payload
//	CRC-32 of all before 4
const (
	preludeSize = 12
	emptyFrame  = preludeSize + 4
)

var (
	errCorrupt    error = &replyError{"Corrupt", transient, "a frame does not match its checksum"}
	errBrokenHead error = &replyError{"Corrupt", transient, "a frame's headers are not understood"}
)

// prelude is the beginning of a frame.
type prelude [preludeSize]byte

// length checks a prelude and returns the length of its frame.
func (p *prelude) length() (int, error) {
	if crc32.ChecksumIEEE(p[:8]) != binary.BigEndian.Uint32(p[8:]) {
		return 0, errCorrupt
	}
	length, headers := binary.BigEndian.Uint32(p[:]), binary.BigEndian.Uint32(p[4:])
	switch {
	case length > maxBody:
		return 0, errTooLarge
	case length < emptyFrame || headers > length-emptyFrame:
		return 0, errBrokenHead
	}
	return int(length), nil
}

// frame is a frame whose checksum was right. Its parts are places in the buffer
// that it was read into.
type frame struct {
	buf     []byte
	payload span

	kind    span // ":message-type": event, exception, error
	name    span // ":event-type", ":exception-type" or ":error-code"
	message span // ":error-message"
}

// parseFrame checks a whole frame. The checksum of its prelude was right.
func parseFrame(b []byte) (f frame, err error) {
	end := len(b) - 4
	if crc32.ChecksumIEEE(b[:end]) != binary.BigEndian.Uint32(b[end:]) {
		return f, errCorrupt
	}
	at := preludeSize
	f = frame{buf: b, payload: span{at + int(binary.BigEndian.Uint32(b[4:])), end}}
	for at < f.payload.from {
		name, value, next := nextHeader(b[:f.payload.from], at)
		if next < 0 {
			return f, errBrokenHead
		}
		switch string(name) {
		case ":message-type":
			f.kind = value
		case ":event-type", ":exception-type", ":error-code":
			f.name = value
		case ":error-message":
			f.message = value
		}
		at = next
	}
	return f, nil
}

// Types of a header's value.
const (
	headerBytes  = 6
	headerString = 7
	headerUUID   = 9
)

// headerSizes are the sizes of the values of each type; bytes and strings carry
// their length in two bytes before them. It is never written to.
var headerSizes = [headerUUID + 1]int{0, 0, 1, 2, 4, 8, 0, 0, 8, 16}

// nextHeader returns the header at a place and where the next one begins, or a
// negative place if there is none.
func nextHeader(b []byte, at int) (name []byte, value span, next int) {
	nameEnd := at + 1 + int(b[at])
	if nameEnd >= len(b) || b[nameEnd] > headerUUID {
		return nil, span{}, -1
	}
	name, at = b[at+1:nameEnd], nameEnd+1
	kind, size := b[nameEnd], headerSizes[b[nameEnd]]
	if kind == headerBytes || kind == headerString {
		if at+2 > len(b) {
			return nil, span{}, -1
		}
		size, at = int(binary.BigEndian.Uint16(b[at:])), at+2
	}
	if at+size > len(b) {
		return nil, span{}, -1
	}
	return name, span{at, at + size}, at + size
}

// isEvent reports whether the frame is an event of a shard.
func (f *frame) isEvent() bool {
	return string(f.kind.of(f.buf)) == "event" && string(f.name.of(f.buf)) == "SubscribeToShardEvent"
}

// fault returns what a frame reports that is no event; nil: nothing.
func (f *frame) fault() error {
	if string(f.kind.of(f.buf)) == "event" {
		return nil
	}
	fault := &smithy.GenericAPIError{Code: string(f.name.of(f.buf)), Message: string(f.message.of(f.buf))}
	// The code is enough: a message that is not understood is left out.
	in := scanner{b: f.buf[:f.payload.to], at: f.payload.from}
	_ = in.object(func(key []byte) error {
		if name := string(key); (name != "message" && name != "Message") || in.peek() != '"' {
			return in.skip()
		}
		text, err := in.text()
		fault.Message = string(text)
		return err
	})
	if fault.Code == "" {
		return errBrokenHead
	}
	return fault
}
