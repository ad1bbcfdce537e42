package kinesistest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
)

// The framing of application/vnd.amazon.eventstream, all numbers big-endian:
//
//	total length 4 | length of the headers 4 | CRC-32 of these 8 bytes 4
//	headers: length of the name 1 | name | type of the value 1 | value
//	  a string has type 7, and its length in 2 bytes before it
//	payload
//	CRC-32 of all before 4
const eventStreamType = "application/vnd.amazon.eventstream"

// appendEvent appends the frame of an event. payload is JSON; cbor is whether
// the client gets CBOR.
func appendEvent(b []byte, kind string, payload []byte, cbor bool) []byte {
	return appendFrame(b, payload, cbor, [][2]string{{":message-type", "event"}, {":event-type", kind}})
}

// appendException appends the frame that reports a fault in mid-stream.
func appendException(b []byte, f *Fault, cbor bool) []byte {
	payload, _ := json.Marshal(struct{ Message string }{f.Message}) // a string always can be
	return appendFrame(b, payload, cbor, [][2]string{{":message-type", "exception"}, {":exception-type", f.Code}})
}

func appendFrame(b, payload []byte, cbor bool, headers [][2]string) []byte {
	kind := contentType
	if cbor {
		payload, _ = cborOfJSON(payload) // it is JSON of ours
		kind = cborType
	}
	headers = append(headers, [2]string{":content-type", kind})
	start := len(b)
	b = append(b, make([]byte, 12)...)
	for _, h := range headers {
		b = append(append(b, byte(len(h[0]))), h[0]...) //nolint:gosec // names of ours
		b = append(b, 7)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(h[1]))), h[1]...) //nolint:gosec // values of ours
	}
	headersLength := len(b) - start - 12
	b = append(b, payload...)
	total := len(b) - start + 4
	binary.BigEndian.PutUint32(b[start:], uint32(total))           //nolint:gosec // an event is some MiB at most
	binary.BigEndian.PutUint32(b[start+4:], uint32(headersLength)) //nolint:gosec // less than that
	binary.BigEndian.PutUint32(b[start+8:], crc32.ChecksumIEEE(b[start:start+8]))
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
}

// CutStream breaks the connection of a subscription after so many events.
func CutStream(events int) Action {
	return editStream(events, func(*subscription, []byte) ([]byte, error) { return nil, connectionReset() })
}

// SilenceStream sends so many events and then nothing, for ever: the connection
// stays open.
func SilenceStream(events int) Action { return editStream(events, nil) }

// CorruptStream changes a bit of the event after so many.
func CorruptStream(events int) Action {
	return editStream(events, func(_ *subscription, frame []byte) ([]byte, error) {
		frame[len(frame)/2] ^= 1
		return frame, nil
	})
}

// FailStream ends a subscription with an exception after so many events.
func FailStream(events int, f Fault) Action {
	return editStream(events, func(b *subscription, _ []byte) ([]byte, error) {
		return appendException(nil, &f, b.cbor), errStreamOver
	})
}

// errStreamOver: the frame that comes with it is the last one.
var errStreamOver = errors.New("the stream is over")

// editStream edits each event of a subscription after so many; a nil edit holds
// them back.
func editStream(events int, edit func(b *subscription, frame []byte) ([]byte, error)) Action {
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*Reply, error) {
			reply, err := next(ctx, r)
			if err != nil || reply.events == nil {
				return reply, err
			}
			b := reply.events
			b.edit = func(n int, frame []byte) ([]byte, error) {
				switch {
				case n < events:
					return frame, nil
				case edit == nil:
					select {
					case <-b.ctx.Done():
						return nil, b.ctx.Err()
					case <-b.closed:
						return nil, io.ErrClosedPipe
					}
				}
				frame, err := edit(b, frame)
				if errors.Is(err, errStreamOver) {
					b.ended, err = true, nil
				}
				return frame, err
			}
			return reply, nil
		}
	}
}
