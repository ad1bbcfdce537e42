package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
)

// stream is a model of a Kinesis stream and a Source of it, small enough to be
// obviously right. Many Consumers read one stream.
type stream struct {
	mu          sync.Mutex
	id          gs.Stream
	retention   time.Duration
	shards      map[gs.ShardID]*modelShard
	order       []gs.ShardID
	seq         int
	pageSize    int
	pollEvery   time.Duration                                // between two pages
	lag         time.Duration                                // of List's clock
	stepBack    int                                          // how many records before its position a reading begins
	listErr     func() error                                 // nil: no error
	readErr     func(gs.ShardID, gs.Position) error          // before each page; nil: no error
	onRead      func(shard gs.ShardID, from gs.Position)     // at the beginning of each Read
	pages       map[gs.ShardID]int                           // read so far
	unlisted    map[gs.ShardID]bool                          // hidden from List
	alwaysAtTip bool                                         // every page says that it reaches the tip
	lagsBy      func(shard gs.ShardID) (time.Duration, bool) // overrides Lag and makes pages empty
}

// errSilent from readErr ends a reading without a pair, which a Source must not
// do.
var errSilent = errors.New("silent")

type modelShard struct {
	shard   gs.Shard
	records []gs.Record
	closed  bool
}

func newStream(shards int) *stream {
	s := &stream{
		id: gs.Stream{ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/gerrit",
			Created: time.Now().Truncate(time.Millisecond)},
		retention: 24 * time.Hour,
		shards:    map[gs.ShardID]*modelShard{},
		pages:     map[gs.ShardID]int{},
		unlisted:  map[gs.ShardID]bool{},
		pageSize:  10,
		pollEvery: 250 * time.Millisecond,
		stepBack:  3,
	}
	for range shards {
		s.add()
	}
	return s
}

// add makes a shard.
func (s *stream) add(parents ...gs.ShardID) gs.ShardID {
	id := gs.ShardID(fmt.Sprintf("shardId-%012d", len(s.order)))
	s.shards[id] = &modelShard{shard: gs.Shard{ID: id, Parents: parents, First: s.next()}}
	s.order = append(s.order, id)
	return id
}

func (s *stream) next() gs.SequenceNumber {
	s.seq++
	return gs.SequenceNumber(fmt.Sprint(s.seq))
}

// change does something to the stream between two calls.
func (s *stream) change(what func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what()
}

// put appends plain records.
func (s *stream) put(shard gs.ShardID, data ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range data {
		m := s.shards[shard]
		m.records = append(m.records, gs.Record{Seq: s.next(), Sub: gs.NoSub, Last: true, Arrived: time.Now(),
			Data: []byte(d)})
	}
}

// putAggregate appends one record of several.
func (s *stream) putAggregate(shard gs.ShardID, data ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seq := s.next()
	for i, d := range data {
		m := s.shards[shard]
		m.records = append(m.records, gs.Record{Seq: seq, Sub: i, Last: i == len(data)-1, Arrived: time.Now(),
			Data: []byte(d)})
	}
}

// split closes a shard and makes two.
func (s *stream) split(shard gs.ShardID) (a, b gs.ShardID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close(shard)
	return s.add(shard), s.add(shard)
}

// merge closes two shards and makes one.
func (s *stream) merge(a, b gs.ShardID) gs.ShardID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close(a)
	s.close(b)
	return s.add(a, b)
}

func (s *stream) close(shard gs.ShardID) {
	s.shards[shard].closed = true
	s.shards[shard].shard.Last = s.next()
}

// history returns the shards, and every record put in the order of its shard.
func (s *stream) history() (events []history.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	put := history.Event{Kind: history.KindPut}
	for _, id := range s.order {
		m := s.shards[id]
		if m == nil {
			continue // it is gone
		}
		events = append(events, history.Event{Kind: history.KindShard, Shard: id, Parents: m.shard.Parents})
		for _, r := range m.records {
			put.Items = append(put.Items, putItem(id, r.Seq, r.Sub, string(r.Data)))
		}
	}
	return append(events, put)
}

func (s *stream) List(context.Context) (gs.Listing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listErr != nil {
		if err := s.listErr(); err != nil {
			return gs.Listing{}, err
		}
	}
	l := gs.Listing{Stream: s.id, Retention: s.retention, Now: time.Now().Add(-s.lag)}
	for _, id := range s.order {
		if !s.unlisted[id] {
			l.Shards = append(l.Shards, s.shards[id].shard)
		}
	}
	return l, nil
}

func (s *stream) Read(ctx context.Context, shard gs.ShardID, from gs.Position) iter.Seq2[gs.Page, error] {
	s.mu.Lock()
	if s.onRead != nil {
		s.onRead(shard, from)
	}
	i := s.seek(shard, from)
	s.mu.Unlock()
	return func(yield func(gs.Page, error) bool) {
		for {
			b, err := s.page(shard, from, &i)
			if errors.Is(err, errSilent) {
				return
			}
			if err == nil && ctx.Err() != nil {
				err = ctx.Err()
			}
			if !yield(b, err) || err != nil && !errors.Is(err, gs.ErrRetrying) || b.End {
				return
			}
			s.mu.Lock()
			pause := s.pollEvery
			s.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

func (s *stream) Peek(ctx context.Context, shard gs.ShardID, from gs.Position) iter.Seq2[gs.Page, error] {
	return s.Read(ctx, shard, from)
}

// seek finds where a reading begins, as the service does; the caller holds mu.
func (s *stream) seek(shard gs.ShardID, from gs.Position) int {
	m := s.shards[shard]
	if m == nil {
		return 0
	}
	horizon := time.Now().Add(-s.retention)
	found := max(
		slices.IndexFunc(append(slices.Clone(m.records), gs.Record{Arrived: time.Now()}),
			func(r gs.Record) bool { return !r.Arrived.Before(horizon) }),
		slices.IndexFunc(append(slices.Clone(m.records), gs.Record{}), func(r gs.Record) bool {
			switch {
			case r.Seq == "", from.After == "" && from.From.TrimHorizon:
				return true
			case from.After != "":
				return r.Seq.Compare(from.After) > 0
			}
			return !r.Arrived.Before(from.From.Time)
		}))
	if from.After != "" { // the contract allows it: a reading by time begins before the position
		found = max(0, found-s.stepBack)
	}
	return found
}

func (s *stream) page(shard gs.ShardID, from gs.Position, i *int) (gs.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr != nil {
		if err := s.readErr(shard, from); err != nil {
			return gs.Page{}, err
		}
	}
	m := s.shards[shard]
	if m == nil {
		return gs.Page{}, gs.ErrShardNotFound
	}
	s.pages[shard]++
	b := gs.Page{Now: time.Now()}
	if s.lagsBy != nil {
		if behind, ok := s.lagsBy(shard); ok {
			b.Lag = behind
			return b, nil
		}
	}
	to := min(*i+s.pageSize, len(m.records))
	for _, r := range m.records[*i:to] {
		r.Data = slices.Clone(r.Data)
		b.Records = append(b.Records, r)
	}
	b.Done = func() { // later use of the page is noticed
		for _, r := range b.Records {
			for j := range r.Data {
				r.Data[j] = '!'
			}
		}
	}
	*i = to
	if to < len(m.records) && !s.alwaysAtTip {
		b.Lag = time.Since(m.records[to].Arrived) + time.Millisecond
	}
	b.End = m.closed && to == len(m.records)
	return b, nil
}
