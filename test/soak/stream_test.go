package soak

import (
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/kinesistest"
)

const (
	streamName  = "gerrit"
	firstShards = 4
	maxOpen     = 8 // open shards
)

// stream is the embedded Kinesis, with its limits on.
type stream struct {
	t      *testing.T
	server *kinesistest.Server
	addr   string // HOST:PORT
	log    *history.Writer

	mu     sync.Mutex
	id     gerritstream.Stream // under mu
	listed map[string]bool     // shards that the history knows; under mu
}

func newStream(t *testing.T, log *history.Writer) *stream {
	s := &stream{t: t, log: log, listed: map[string]bool{}}
	s.server = kinesistest.New(kinesistest.Options{})
	server := httptest.NewServer(s.server)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.addr = server.Listener.Addr().String()
	s.create()
	return s
}

// create makes the stream, which does not exist, or was deleted.
func (s *stream) create() {
	s.log.Add(history.Event{Kind: history.KindCreated}) // before any process can see it
	arn, err := s.server.CreateStream(streamName, firstShards)
	if err != nil {
		s.t.Fatal(err)
	}
	created, err := s.server.Created(streamName)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.id, s.listed = gerritstream.Stream{ARN: arn, Created: created}, map[string]bool{}
	s.mu.Unlock()
	s.note()
}

// identity distinguishes the stream from earlier ones of its name.
func (s *stream) identity() gerritstream.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// note writes new shards to the history.
func (s *stream) note() {
	shards, err := s.server.Shards(streamName)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, shard := range shards {
		if s.listed[shard.ID] {
			continue
		}
		s.listed[shard.ID] = true
		e := history.Event{Kind: history.KindShard, Shard: gerritstream.ShardID(shard.ID)}
		for _, p := range shard.Parents {
			e.Parents = append(e.Parents, gerritstream.ShardID(p))
		}
		s.log.Add(e)
	}
}

// open returns the ids of the open shards.
func (s *stream) open() (ids []string) {
	shards, err := s.server.Shards(streamName)
	if err != nil {
		s.t.Error(err)
	}
	for _, shard := range shards {
		if shard.Open {
			ids = append(ids, shard.ID)
		}
	}
	return ids
}
