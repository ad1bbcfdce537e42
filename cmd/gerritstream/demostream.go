package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/kinesistest"
)

const (
	demoStreamName = "gerrit-demo"
	demoRegion     = "us-east-1"
	demoAccount    = "000000000000"
	demoARN        = "arn:aws:kinesis:" + demoRegion + ":" + demoAccount + ":stream/" + demoStreamName
)

// demoRetention keeps a demonstration that goes on for days from filling the
// memory.
const demoRetention = time.Hour

// demoStream is an embedded Kinesis with one stream, and what a producer needs
// of it.
type demoStream struct {
	server *kinesistest.Server
	client http.Client
}

func newDemoStream(shards int) (*demoStream, error) {
	server := kinesistest.New(kinesistest.Options{Region: demoRegion, Account: demoAccount})
	if _, err := server.CreateStream(demoStreamName, shards); err != nil {
		return nil, fmt.Errorf("make the demo's stream: %w", err)
	}
	if err := server.SetRetention(demoStreamName, demoRetention); err != nil {
		return nil, fmt.Errorf("make the demo's stream: %w", err)
	}
	return &demoStream{server: server, client: http.Client{Transport: server.Transport()}}, nil
}

// putRecords is a request of that name, as producers send it.
type putRecords struct {
	StreamName string
	Records    []putRecord
}

type putRecord struct {
	Data         []byte
	PartitionKey string
}

// putAnswer is what the stream says of one record: where it is, or why it was
// not taken.
type putAnswer struct {
	ShardID        gerritstream.ShardID `json:"ShardId"`
	SequenceNumber gerritstream.SequenceNumber
	ErrorCode      string
	ErrorMessage   string
}

// put makes one PutRecords request and returns an answer for each record, in
// their order. It ignores the end of ctx, so that no record is stored without
// its answer being known: a stream in this process does not keep anybody
// waiting.
func (s *demoStream) put(ctx context.Context, records []gerrittest.Record) ([]putAnswer, error) {
	in := putRecords{StreamName: demoStreamName, Records: make([]putRecord, len(records))}
	for i := range records {
		in.Records[i] = putRecord{records[i].Data, records[i].Key}
	}
	var out struct{ Records []putAnswer }
	if err := s.call(context.WithoutCancel(ctx), "PutRecords", in, &out); err != nil {
		return nil, err
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
		return fmt.Errorf("%s: %w", operation, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://kinesis.invalid/", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=any") // the embedded Kinesis does not look at it
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %.300s", operation, resp.Status, reply)
	}
	if err := json.Unmarshal(reply, out); err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// split splits the first of the shards that the stream began with, and says so.
func (s *demoStream) split() (said string, err error) {
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

// merge merges the first two of those that are left, and says so, or that there
// are not enough.
func (s *demoStream) merge() (said string, err error) {
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

// untouched returns the open shards that the stream began with, which lie side
// by side.
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
	number := strings.TrimLeft(strings.TrimPrefix(string(shard), "shardId-"), "0")
	if number == "" {
		return "0"
	}
	return number
}
