package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// producer publishes made-up traffic without losing a record: it puts again
// what the stream refuses, and a record counts as published once the stream has
// acknowledged it. One goroutine uses it, published aside.
type producer struct {
	put       func(context.Context, []gerrittest.Record) ([]putAnswer, error)
	next      func() gerrittest.Record
	acked     func(record *gerrittest.Record, at *putAnswer) // called for each record that was published
	refused   []refusedRecord                                // by the stream, the oldest first
	published atomic.Int64
}

// refusedRecord waits to be put again.
type refusedRecord struct {
	record gerrittest.Record
	since  time.Time // the first refusal
}

const (
	putMostRecords = 500     // what Kinesis takes at once
	putMostBytes   = 4 << 20 // it takes 5 MiB
	putAgainAfter  = 100 * time.Millisecond

	// starving is how long a record may be refused before no new ones are put
	// ahead of it. A shard takes a record of nearly 1 MiB only after nearly a
	// second without others.
	starving = time.Second
)

// newProducer returns a producer of traffic on a stream.
func newProducer(stream *demoStream, o gerrittest.Options, acked func(*gerrittest.Record, *putAnswer)) *producer {
	o.SpreadKeys = true // with keys by type, as Gerrit's plugin makes them, two thirds would go to one shard
	o.Clock = time.Now
	return &producer{put: stream.put, next: gerrittest.New(demoSeed, o).Next, acked: acked}
}

// publish makes a number of records and returns once the stream has them all.
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

// batch takes what was refused, then new records, as many as are wanted and
// fit.
func (p *producer) batch(wanted int) (batch []refusedRecord, fresh int) {
	bytes := 0
	for len(p.refused) > 0 && bytes < putMostBytes {
		bytes += len(p.refused[0].record.Data)
		batch, p.refused = append(batch, p.refused[0]), p.refused[1:]
	}
	if len(batch) > 0 && time.Since(batch[0].since) > starving {
		return batch, 0
	}
	for fresh < wanted && len(batch) < putMostRecords && bytes < putMostBytes {
		r := p.next()
		bytes += len(r.Data)
		batch = append(batch, refusedRecord{record: r})
		fresh++
	}
	return batch, fresh
}

// send puts a batch and keeps what was refused of it.
func (p *producer) send(ctx context.Context, batch []refusedRecord) error {
	records := make([]gerrittest.Record, len(batch))
	for i := range batch {
		records[i] = batch[i].record
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

const (
	demoStreamName = "gerrit-demo"
	demoRegion     = "us-east-1"
	demoAccount    = "000000000000"
	demoARN        = "arn:aws:kinesis:" + demoRegion + ":" + demoAccount + ":stream/" + demoStreamName

	// demoRetention keeps a demonstration that runs for days from filling the
	// memory.
	demoRetention = time.Hour
)

// demoStream is an embedded Kinesis with one stream, as a producer uses it.
type demoStream struct {
	name   string
	server *kinesistest.Server
	client http.Client
}

func newDemoStream(shards int) (*demoStream, error) {
	server := kinesistest.New(kinesistest.Options{Region: demoRegion, Account: demoAccount})
	if _, err := server.CreateStream(demoStreamName, shards); err != nil {
		return nil, fmt.Errorf("make the demo's stream: %w", err)
	}
	return fleetingStream(server, demoStreamName)
}

// fleetingStream returns a stream of an embedded Kinesis that keeps records for
// demoRetention.
func fleetingStream(server *kinesistest.Server, name string) (*demoStream, error) {
	if err := server.SetRetention(name, demoRetention); err != nil {
		return nil, fmt.Errorf("set the stream's retention: %w", err)
	}
	return &demoStream{name: name, server: server, client: http.Client{Transport: server.Transport()}}, nil
}

// putAnswer is the stream's answer for one record: where it is, or why it was
// refused.
type putAnswer struct {
	ShardID        gerritstream.ShardID `json:"ShardId"`
	SequenceNumber gerritstream.SequenceNumber
	ErrorCode      string
	ErrorMessage   string
}

// put makes one PutRecords request and returns an answer for each record, in
// their order. It ignores the end of ctx, so that no record is stored without
// its answer being known; a stream in this process keeps nobody waiting.
func (s *demoStream) put(ctx context.Context, records []gerrittest.Record) ([]putAnswer, error) {
	type record struct {
		Data         []byte
		PartitionKey string
	}
	in := struct {
		StreamName string
		Records    []record
	}{StreamName: s.name}
	for i := range records {
		in.Records = append(in.Records, record{records[i].Data, records[i].Key})
	}
	var out struct{ Records []putAnswer }
	if err := s.call(context.WithoutCancel(ctx), "PutRecords", in, &out); err != nil {
		return nil, fmt.Errorf("PutRecords: %w", err)
	}
	if len(out.Records) != len(records) {
		return nil, fmt.Errorf("PutRecords: %d answers to %d records", len(out.Records), len(records))
	}
	return out.Records, nil
}

// call makes a request of AWS JSON 1.1.
func (s *demoStream) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://kinesis.invalid/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=any") // the embedded Kinesis ignores it
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %.300s", resp.Status, reply)
	}
	return json.Unmarshal(reply, out)
}

// split splits the first of the shards that the stream began with, and
// describes the change.
func (s *demoStream) split() (summary string, err error) {
	first, err := s.untouched()
	if err != nil {
		return "", err
	}
	left, right, err := s.server.Split(demoStreamName, first[0])
	if err != nil {
		return "", fmt.Errorf("split a shard: %w", err)
	}
	return fmt.Sprintf("shard %s was split into %s and %s", brief(first[0]), brief(left), brief(right)), nil
}

// merge merges the first two of those that are left, if there are two, and
// describes the change.
func (s *demoStream) merge() (summary string, err error) {
	first, err := s.untouched()
	if err != nil {
		return "", err
	}
	if len(first) < 2 {
		return "no shards were merged: that takes a stream that begins with three (--shards 3)", nil
	}
	child, err := s.server.Merge(demoStreamName, first[0], first[1])
	if err != nil {
		return "", fmt.Errorf("merge shards: %w", err)
	}
	return fmt.Sprintf("shards %s and %s were merged into %s", brief(first[0]), brief(first[1]), brief(child)), nil
}

// untouched returns the open shards that the stream began with; neighbours are
// side by side.
func (s *demoStream) untouched() (ids []string, err error) {
	shards, err := s.server.Shards(demoStreamName)
	if err != nil {
		return nil, fmt.Errorf("list the demo's shards: %w", err)
	}
	for _, shard := range shards {
		if shard.Open && len(shard.Parents) == 0 {
			ids = append(ids, shard.ID)
		}
	}
	return ids, nil
}

// brief is a shard's id without what all ids have in common.
func brief[S ~string](shard S) string {
	if number := strings.TrimLeft(strings.TrimPrefix(string(shard), "shardId-"), "0"); number != "" {
		return number
	}
	return "0"
}
