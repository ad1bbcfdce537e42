package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// put is an acknowledgement that a test's producer got.
type put struct {
	record gerrittest.Record
	at     putAnswer
	when   time.Time
}

// testProducer returns a producer on a new stream, and its acknowledgements.
func testProducer(t *testing.T, shards int, next func() gerrittest.Record) (*producer, *demoStream, *[]put) {
	t.Helper()
	stream, err := newDemoStream(shards)
	if err != nil {
		t.Fatal(err)
	}
	var puts []put
	return &producer{put: stream.put, next: next, acked: func(r *gerrittest.Record, at *putAnswer) {
		puts = append(puts, put{*r, *at, time.Now()})
	}}, stream, &puts
}

// TestProducerPutsAgainWhatIsRefused publishes more than three shards take at
// once, through a change of shards: each record is in the stream once, where
// it was acknowledged.
func TestProducerPutsAgainWhatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 5000
		p, stream, puts := testProducer(t, 3, gerrittest.New(1, gerrittest.Options{SpreadKeys: true}).Next)
		refused := 0
		p.put = func(ctx context.Context, records []gerrittest.Record) ([]putAnswer, error) {
			answers, err := stream.put(ctx, records)
			for _, a := range answers {
				if a.ErrorCode != "" {
					refused++
				}
			}
			return answers, err
		}
		if err := p.publish(t.Context(), count/2); err != nil {
			t.Fatal(err)
		}
		for _, change := range []func() (string, error){stream.split, stream.merge} {
			if summary, err := change(); err != nil || !strings.Contains(summary, " into ") {
				t.Fatalf("%q, %v", summary, err)
			}
		}
		if err := p.publish(t.Context(), count-count/2); err != nil {
			t.Fatal(err)
		}
		if refused == 0 {
			t.Error("nothing was refused: this shows nothing")
		}
		if n := p.published.Load(); n != count || len(*puts) != count {
			t.Errorf("%d published, %d acknowledged", n, len(*puts))
		}
		checkStored(t, stream, *puts)
	})
}

// checkStored compares a stream's records with what it acknowledged.
func checkStored(t *testing.T, stream *demoStream, puts []put) {
	t.Helper()
	type place struct {
		shard gerritstream.ShardID
		seq   gerritstream.SequenceNumber
	}
	stored := map[place][]byte{}
	shards, err := stream.server.Shards(demoStreamName)
	if err != nil {
		t.Fatal(err)
	}
	for _, shard := range shards {
		records, err := stream.server.Records(demoStreamName, shard.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			stored[place{gerritstream.ShardID(shard.ID), gerritstream.SequenceNumber(r.SequenceNumber)}] = r.Data
		}
	}
	for i := range puts {
		where := place{puts[i].at.ShardID, puts[i].at.SequenceNumber}
		if !bytes.Equal(stored[where], puts[i].record.Data) {
			t.Fatalf("%v: not what was put there", where)
		}
		delete(stored, where)
	}
	if len(stored) != 0 {
		t.Errorf("%d records in the stream were never acknowledged", len(stored))
	}
}

// TestLargeRecordIsNotStarved: a record that a shard takes only after nearly a
// second of quiet gets it, however many small ones wait behind it.
func TestLargeRecordIsNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		p, _, puts := testProducer(t, 1, func() gerrittest.Record {
			made++
			if made == 100 {
				return gerrittest.Record{Key: "large", Data: make([]byte, 1_000_000)}
			}
			return gerrittest.Record{Key: fmt.Sprint(made), Data: make([]byte, 1500)}
		})
		began := time.Now()
		if err := p.publish(t.Context(), 2_500); err != nil {
			t.Fatal(err)
		}
		for _, put := range *puts {
			if put.record.Key == "large" {
				if waited := put.when.Sub(began); waited > 3*time.Second {
					t.Errorf("the large record waited for %v, of %v", waited, time.Since(began))
				}
				return
			}
		}
		t.Error("the large record is not there")
	})
}

// TestProducerStops: with its context, while all is refused, and at an error
// that will not pass.
func TestProducerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stream, puts := testProducer(t, 1,
			func() gerrittest.Record { return gerrittest.Record{Key: "k", Data: []byte("{}")} })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := p.publish(ctx, 100_000); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if len(*puts) < 2000 || len(*puts) > 6000 {
			t.Errorf("%d records in three seconds, of 1,000 a second", len(*puts))
		}
		checkStored(t, stream, *puts)

		stream.server.On(kinesistest.Hook{Operation: "PutRecords",
			Do: kinesistest.Fail("AccessDeniedException", "no", 400)})
		p.refused = nil
		if err := p.publish(t.Context(), 1); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
