package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream/gerrittest"
)

// producer publishes made-up traffic, as a program that must not lose a record
// does: what the stream does not take is put again, and a record counts as
// published when the stream has said where it is. It is used by one goroutine,
// but for published.
type producer struct {
	put       func(context.Context, []gerrittest.Record) ([]putAnswer, error)
	next      func() gerrittest.Record
	acked     func(record *gerrittest.Record, at *putAnswer) // is told of each record that was published
	refused   []refusedRecord                                // by the stream, so far; the oldest first
	published atomic.Int64
}

// refusedRecord waits to be put again.
type refusedRecord struct {
	gerrittest.Record
	since time.Time // of the first refusal
}

const (
	putMostRecords = 500     // Kinesis takes so many at once
	putMostBytes   = 4 << 20 // and 5 MiB
	putAgainAfter  = 100 * time.Millisecond

	// starving is how long a record may be refused until no new ones are put
	// before it. A shard takes a record of nearly 1 MiB only when it has been
	// left alone for nearly a second.
	starving = time.Second
)

// publish makes so many records and returns when all of them are in the stream.
func (p *producer) publish(ctx context.Context, count int) error {
	for count > 0 || len(p.refused) > 0 {
		batch, fresh := p.batch(count)
		count -= fresh
		if err := p.send(ctx, batch); err != nil {
			return err
		}
		if len(p.refused) == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		if err := pause(ctx, putAgainAfter); err != nil {
			return err
		}
	}
	return nil
}

// batch takes what was refused, and then as many new records as there is room
// for and are wanted.
func (p *producer) batch(wanted int) (batch []refusedRecord, fresh int) {
	bytes := 0
	for len(p.refused) > 0 && bytes < putMostBytes {
		bytes += len(p.refused[0].Data)
		batch, p.refused = append(batch, p.refused[0]), p.refused[1:]
	}
	if len(batch) > 0 && time.Since(batch[0].since) > starving {
		return batch, 0
	}
	for fresh < wanted && len(batch) < putMostRecords && bytes < putMostBytes {
		r := p.next()
		bytes += len(r.Data)
		batch = append(batch, refusedRecord{Record: r})
		fresh++
	}
	return batch, fresh
}

// send puts a batch, and keeps of it what was refused.
func (p *producer) send(ctx context.Context, batch []refusedRecord) error {
	records := make([]gerrittest.Record, len(batch))
	for i := range batch {
		records[i] = batch[i].Record
	}
	answers, err := p.put(ctx, records)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	now := time.Now()
	var again []refusedRecord
	for i := range answers {
		switch a := &answers[i]; a.ErrorCode {
		case "":
			p.acked(&records[i], a)
			p.published.Add(1)
		case "ProvisionedThroughputExceededException", "InternalFailure":
			if batch[i].since.IsZero() {
				batch[i].since = now
			}
			again = append(again, batch[i])
		default:
			return fmt.Errorf("publish: %s: %s", a.ErrorCode, a.ErrorMessage)
		}
	}
	p.refused = append(again, p.refused...)
	return nil
}

// stroll publishes one record, and waits as long as a person takes to read a
// line.
func (p *producer) stroll(ctx context.Context) error {
	if err := p.publish(ctx, 1); err != nil {
		return err
	}
	return pause(ctx, 120*time.Millisecond+rand.N(260*time.Millisecond))
}

// pause waits; its error is the context's.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
