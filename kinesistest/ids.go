package kinesistest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func shardID(index int) string { return fmt.Sprintf("shardId-%012d", index) }

// sequence is the content of a sequence number. As text it has 56 digits, like
// AWS', and grows within a shard with (ms, n).
type sequence struct {
	stream int64 // creation time of the stream in ms
	ms     int64
	n      int64 // counts the shard's records
	shard  int
}

const (
	sequencePrefix = "49" // as at AWS
	sequenceDigits = 56
	maxCount       = 9999999999999999
)

// sequencePattern is AWS' constraint on a sequence number in a request.
var sequencePattern = regexp.MustCompile(`^(0|([1-9]\d{0,128}))$`)

func (q sequence) String() string {
	return fmt.Sprintf("%s%013d%013d%016d%012d", sequencePrefix, q.stream, q.ms, q.n, q.shard)
}

// parseSequence parses a sequence number; ok is false for one that no server
// made.
func parseSequence(s string) (q sequence, ok bool) {
	if len(s) != sequenceDigits || !strings.HasPrefix(s, sequencePrefix) {
		return sequence{}, false
	}
	field := func(from, to int) int64 {
		n, err := strconv.ParseInt(s[from:to], 10, 64)
		if err != nil {
			ok = false
		}
		return n
	}
	ok = true
	q = sequence{stream: field(2, 15), ms: field(15, 28), n: field(28, 44), shard: int(field(44, 56))}
	return q, ok
}

// iterator is the content of a shard iterator. Only the server can read or make
// one, because it is sealed.
type iterator struct {
	Stream  string `json:"s"`
	Created int64  `json:"b"` // of the stream, in ms
	Shard   int    `json:"h"`
	Ms      int64  `json:"m"` // the place
	N       int64  `json:"n"`
	Issued  int64  `json:"i"` // ms
}

func newIterator(sh *shard, at place, now time.Time) iterator {
	return iterator{
		Stream: sh.stream.name, Created: sh.stream.created.UnixMilli(), Shard: sh.index,
		Ms: at.ms, N: at.n, Issued: now.UnixMilli(),
	}
}

// pageToken is the content of a NextToken of ListShards or ListStreams. It is
// sealed too.
type pageToken struct {
	Stream  string       `json:"s,omitempty"`
	Created int64        `json:"b,omitempty"` // of the stream, in ms
	After   string       `json:"a"`
	Filter  *shardFilter `json:"f,omitempty"`
	Issued  int64        `json:"i"`
}

// openToken reads a NextToken.
func (s *Server) openToken(text string, token *pageToken, now time.Time) *Fault {
	if !s.open(text, token) {
		return invalid("NextToken is invalid.")
	}
	if now.Sub(time.UnixMilli(token.Issued)) > tokenLife {
		return fault("ExpiredNextTokenException", "NextToken has expired.")
	}
	return nil
}

// sealed turns an iterator or a token into opaque text.
func (s *Server) sealed(token any) string {
	plain, _ := json.Marshal(token) // numbers and strings can always be marshalled
	return base64.StdEncoding.EncodeToString(s.seal.Seal(nil, nil, plain, nil))
}

// open reads what sealed wrote; ok is false for anything else.
func (s *Server) open(text string, token any) (ok bool) {
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	plain, err := s.seal.Open(nil, nil, sealed, nil)
	return err == nil && json.Unmarshal(plain, token) == nil
}
