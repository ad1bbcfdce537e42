package soak

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/kinesistest"
)

const (
	putEvery      = 20 * time.Millisecond
	perPut        = 4    // records: 200 a second
	aggregateEach = 150  // records, one is an aggregate of three
	largeEach     = 1500 // records, one is larger than a ZooKeeper node may be
	largeBytes    = 1_200_000
)

// producer puts records on the stream at a steady rate.
type producer struct {
	stream    *stream
	generator *gerrittest.Generator
	made      int

	paused sync.Mutex // held while nothing is put

	mu   sync.Mutex
	want map[string]history.Item // by event id: what must be queued and was not seen yet; under mu
	bad  int                     // dead letters to come; under mu
	all  map[string]history.Item // by event id; under mu
}

func newProducer(s *stream, seed uint64) *producer {
	return &producer{
		stream:    s,
		generator: gerrittest.New(seed, gerrittest.Options{SpreadKeys: true, Within: 1000, BadEvery: 300}),
		want:      map[string]history.Item{},
		all:       map[string]history.Item{},
	}
}

// start puts records until stop is called, which waits for the last one.
func (p *producer) start() (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(putEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for range perPut {
				p.put()
			}
		}
	}()
	return func() { close(done); <-stopped }
}

// put puts one record and notes it in the history, under a lock: a process may
// be faster, but only by as long as that is held.
func (p *producer) put() {
	p.paused.Lock()
	defer p.paused.Unlock()
	p.made++
	r := p.generator.Next()
	parts := []gerrittest.Record{r}
	data := r.Data
	switch {
	case p.made%largeEach == largeEach/2:
		parts[0] = large(p.made)
		data = parts[0].Data
	case p.made%aggregateEach == 0:
		parts = append(parts, p.generator.Next(), p.generator.Next())
		data = aggregate(parts)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	shard, seq, err := p.stream.server.Put(streamName, r.Key, data)
	if err != nil {
		p.stream.t.Errorf("put: %v", err)
		return
	}
	e := history.Event{Kind: history.KindPut, Shard: gerritstream.ShardID(shard)}
	for i, part := range parts {
		sub := i
		if len(parts) == 1 {
			sub = gerritstream.NoSub
		}
		item := history.Item{
			Shard: gerritstream.ShardID(shard), Seq: gerritstream.SequenceNumber(seq), Sub: sub,
			Outcome: history.Outcome(part.Want), Sum: history.Sum(part.Data),
		}
		id := gerritstream.NewEventID(p.stream.identity(), item.Shard, item.Seq, sub).String()
		item.ID = id
		e.Items = append(e.Items, item)
		p.all[id] = item
		switch item.Outcome {
		case history.Queued:
			p.want[id] = item
		case history.DeadLetter:
			p.bad++
		}
	}
	p.stream.log.Add(e)
}

// pause stops the producer until resume is called.
func (p *producer) pause() (resume func()) {
	p.paused.Lock()
	return p.paused.Unlock
}

func aggregate(parts []gerrittest.Record) []byte {
	records := make([]kinesistest.UserRecord, len(parts))
	for i, part := range parts {
		records[i] = kinesistest.UserRecord{PartitionKey: part.Key, Data: part.Data}
	}
	return kinesistest.Aggregate(records...)
}

// large makes a comment of more than a megabyte.
func large(n int) gerrittest.Record {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"type":"comment-added","project":"example/large","comment":"%d `, n)
	for i := 0; b.Len() < largeBytes; i++ {
		fmt.Fprintf(&b, "%x", i*i*2654435761%1000003)
	}
	b.WriteString(`","change":{"project":"example/large","number":` + fmt.Sprint(n) +
		`,"branch":"main"},"eventCreatedOn":1767225600}`)
	return gerrittest.Record{Key: strings.Repeat("k", 1+n%50), Data: b.Bytes(), Type: "comment-added",
		Want: gerrittest.Queued}
}

// seen notes that an event is in the queue, and returns its record.
func (p *producer) seen(id string) history.Item {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.want, id)
	item, ok := p.all[id]
	if !ok {
		return history.Item{ID: id, Sub: gerritstream.NoSub}
	}
	item.Outcome = ""
	return item
}

// mark puts a good record into each open shard and makes settle wait for these
// alone. Once they are queued, everything before them in their shards, and in
// the ancestors of those, was passed.
func (p *producer) mark() {
	p.mu.Lock()
	p.bad, p.want = 0, map[string]history.Item{}
	p.mu.Unlock()
	for open := p.stream.open(); len(open) > 0; {
		p.put()
		p.mu.Lock()
		for _, item := range p.want {
			open = slices.DeleteFunc(open, func(shard string) bool { return shard == string(item.Shard) })
		}
		p.mu.Unlock()
	}
}

// waiting returns how many records are still missing.
func (p *producer) waiting(s store) int {
	dead := s.deadLetters()
	p.mu.Lock()
	defer p.mu.Unlock()
	if missing := len(p.want) + max(0, p.bad-dead); missing > 0 {
		return missing
	}
	return s.pending()
}
