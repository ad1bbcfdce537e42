package bench

import (
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/daemon"
)

// events are made-up events that Zuul's filter keeps, in lifelike proportions.
type events struct {
	payloads [][]byte
	keys     []string // partition keys
	is       []gerritstream.Event

	theirs [][]byte // some of the user's stream, if it was read
}

const (
	madeUp     = 1000
	eventsSeed = 11 // every bench has the same events
)

// newClassifier returns what `run` classifies with.
func newClassifier() gerritstream.Classifier {
	filter, err := gerrit.NewFilter(gerrit.FilterConfig{Preset: gerrit.PresetZuul})
	if err != nil {
		panic(err) // the preset exists
	}
	return daemon.NewClassifier(filter, nil)
}

func makeEvents() *events {
	generator := gerrittest.New(eventsSeed, gerrittest.Options{SpreadKeys: true, BadEvery: -1})
	classify := newClassifier()
	e := &events{}
	for len(e.payloads) < madeUp {
		r := generator.Next()
		if r.Want != gerrittest.Queued || len(r.Data) > 64<<10 { // the largest are rare, and of a kind of their own
			continue
		}
		verdict := classify("", &gerritstream.Record{Data: r.Data})
		e.payloads, e.keys = append(e.payloads, r.Data), append(e.keys, r.Key)
		e.is = append(e.is, verdict.Event)
	}
	return e
}

// mean is the mean size of a payload.
func (e *events) mean() float64 {
	total := 0
	for _, p := range e.payloads {
		total += len(p)
	}
	return float64(total) / float64(len(e.payloads))
}

// entries makes the entries of a shard from the n-th on: the same ones each
// time, with identities that are unique within a store.
func (e *events) entries(shard gerritstream.ShardID, n, count int) []gerritstream.Entry {
	list := make([]gerritstream.Entry, count)
	arrived := time.Now()
	for i := range list {
		k := (n + i) % len(e.payloads)
		seq := gerritstream.SequenceNumber(strconv.Itoa(n + i + 1))
		list[i] = gerritstream.Entry{
			ID:    gerritstream.NewEventID(madeUpStream, shard, seq, gerritstream.NoSub),
			Shard: shard, Seq: seq, Sub: gerritstream.NoSub, Arrived: arrived, Event: e.is[k], Payload: e.payloads[k],
		}
	}
	return list
}

// madeUpStream is the stream of commits that no stream is read for.
var madeUpStream = gerritstream.Stream{
	ARN:     "arn:aws:kinesis:" + region + ":000000000000:stream/" + streamName,
	Created: time.UnixMilli(1_700_000_000_000).UTC(),
}
