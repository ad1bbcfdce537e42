package kinesistest

import (
	"encoding/base64"
	"encoding/json"
	"time"
)

// iterator is what a shard iterator holds, sealed: nobody but the server can
// read or make one.
type iterator struct {
	Stream string `json:"s"`
	Born   int64  `json:"b"` // which incarnation of the stream, by its creation time in ms
	Shard  int    `json:"h"`
	Ms     int64  `json:"m"` // the place
	N      int64  `json:"n"`
	Issued int64  `json:"i"` // ms
}

func newIterator(sh *shard, at place, now time.Time) iterator {
	return iterator{
		Stream: sh.stream.name, Born: sh.stream.created.UnixMilli(), Shard: sh.index,
		Ms: at.ms, N: at.n, Issued: now.UnixMilli(),
	}
}

// pageToken is what a NextToken of ListShards or ListStreams holds, sealed.
type pageToken struct {
	Stream string       `json:"s,omitempty"`
	Born   int64        `json:"b,omitempty"`
	After  string       `json:"a"`
	Filter *shardFilter `json:"f,omitempty"`
	Issued int64        `json:"i"`
}

// sealed turns a token into opaque text.
func (s *Server) sealed(token any) string {
	plain, _ := json.Marshal(token) // numbers and strings always can be
	return base64.StdEncoding.EncodeToString(s.seal.Seal(nil, nil, plain, nil))
}

// open reads a token back; ok is false when the server did not make it.
func (s *Server) open(text string, token any) (ok bool) {
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	plain, err := s.seal.Open(nil, nil, sealed, nil)
	return err == nil && json.Unmarshal(plain, token) == nil
}
