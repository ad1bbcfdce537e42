package peers

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
)

// framer splits one direction of a connection into what passes at once.
type framer interface {
	next(r *bufio.Reader) (frame, error)
}

// frame is what passes at once.
type frame struct {
	bytes   []byte
	matched []byte // what a match function sees; nil: it always passes
	number  uint32 // what a request and its reply have in common
	more    bool   // of a reply: not its end
}

// readFramer takes what one read returns, and every reply for that to the first
// request.
type readFramer struct{}

func (readFramer) next(r *bufio.Reader) (frame, error) {
	if _, err := r.Peek(1); err != nil {
		return frame{}, err
	}
	b := make([]byte, r.Buffered())
	_, err := io.ReadFull(r, b)
	return frame{bytes: b, matched: b}, err
}

const (
	lengthBytes = 4        // before each frame
	maxFrame    = 64 << 20 // far more than the servers take: what is longer is no frame
)

// readFrame reads a frame whose length stands after a head, and counts the
// bytes from counted on.
func readFrame(r *bufio.Reader, head, counted int) ([]byte, error) {
	start, err := r.Peek(head + lengthBytes)
	if err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(start[head:])
	if length > maxFrame {
		return nil, errors.New("no frame")
	}
	b := make([]byte, max(counted+int(length), head+lengthBytes))
	_, err = io.ReadFull(r, b)
	return b, err
}

// zooKeeperFramer splits either direction of ZooKeeper's protocol.
type zooKeeperFramer struct {
	connected bool // the first frame has passed
}

func (f *zooKeeperFramer) next(r *bufio.Reader) (frame, error) {
	b, err := readFrame(r, 0, lengthBytes)
	if err != nil {
		return frame{}, err
	}
	if !f.connected {
		f.connected = true
		return frame{bytes: b}, nil
	}
	passed := frame{bytes: b, matched: b[lengthBytes:]}
	if len(passed.matched) >= 4 {
		passed.number = binary.BigEndian.Uint32(passed.matched)
	}
	return passed, nil
}

// NewPostgreSQLLink returns a link that understands PostgreSQL's messages and
// which replies belong to which requests. A match function sees everything
// that the client sends up to a Sync or a Query as one request, such as a whole
// transaction of a pipeline. Its reply is lost when the server has given all of
// it: when the transaction is over. Notifications that arrive meanwhile are
// lost with it. TLS does not pass: clients need sslmode=disable.
func NewPostgreSQLLink(tb testing.TB, target string) *Link {
	tb.Helper()
	return newLink(tb, target, func() (framer, framer) { return &postgreSQLRequests{}, &postgreSQLReplies{} })
}

// postgreSQLRequests splits what a client of PostgreSQL sends.
type postgreSQLRequests struct {
	begun  bool   // the first message, which has no type, has passed
	number uint32 // of the requests that have passed
}

// The first message's kinds, by their code.
const (
	postgreSQLSSL    = 80877103
	postgreSQLGSSAPI = 80877104
)

func (f *postgreSQLRequests) next(r *bufio.Reader) (frame, error) {
	if !f.begun {
		b, err := readFrame(r, 0, 0)
		if err == nil && len(b) >= 2*lengthBytes {
			switch code := binary.BigEndian.Uint32(b[lengthBytes:]); code {
			case postgreSQLSSL, postgreSQLGSSAPI:
				return frame{}, fmt.Errorf("encryption is requested: %d", code)
			}
		}
		f.begun = true
		return frame{bytes: b}, err
	}
	var request []byte
	for {
		b, err := readFrame(r, 1, 1)
		if err != nil {
			return frame{}, err
		}
		request = append(request, b...)
		switch b[0] {
		case 'Q', 'S', 'F': // Query, Sync, FunctionCall: a ReadyForQuery answers each
			f.number++
			return frame{bytes: request, matched: request, number: f.number}, nil
		case 'H', 'X', 'p', 'd', 'c', 'f': // Flush, Terminate, a password, the parts of a COPY
			return frame{bytes: request}, nil
		}
	}
}

// postgreSQLReplies splits what a PostgreSQL server sends.
type postgreSQLReplies struct {
	number uint32 // of the replies that are over; the first is to the connection itself
}

func (f *postgreSQLReplies) next(r *bufio.Reader) (frame, error) {
	b, err := readFrame(r, 1, 1)
	if err != nil {
		return frame{}, err
	}
	passed := frame{bytes: b, matched: b, number: f.number, more: true}
	switch b[0] {
	case 'Z': // ReadyForQuery
		passed.more = false
		f.number++
	case 'G', 'W': // the client goes on with a COPY only after this
		passed.matched = nil
	}
	return passed, nil
}
