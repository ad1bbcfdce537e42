package e2e

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// TestAWSCommandLineUsesEmulate makes a stream in `gerritstream emulate`, puts
// a record and reads it, all with the AWS command line; and `run` queues it.
func TestAWSCommandLineUsesEmulate(t *testing.T) {
	t.Parallel()
	peers.Require(t, peers.AWSCLI)
	endpoint := emulate(t)
	aws := func(answer any, args ...string) {
		t.Helper()
		out := peers.AWS(t, endpoint, args...)
		if answer == nil {
			return
		}
		if err := json.Unmarshal(out, answer); err != nil {
			t.Fatalf("aws kinesis %q: %v\n%s", args, err, out)
		}
	}
	tr := newTraffic(3)
	event := tr.next()
	for tr.wantOf(event) != gerrittest.Queued {
		event = tr.next()
	}

	aws(nil, "create-stream", "--stream-name", streamName, "--shard-count", "2")
	aws(nil, "wait", "stream-exists", "--stream-name", streamName)
	var put struct {
		ShardID        string `json:"ShardId"`
		SequenceNumber string `json:"SequenceNumber"`
	}
	aws(&put, "put-record", "--stream-name", streamName, "--partition-key", event.Key,
		"--data", base64.StdEncoding.EncodeToString(event.Data))
	var iterator struct {
		ShardIterator string `json:"ShardIterator"`
	}
	aws(&iterator, "get-shard-iterator", "--stream-name", streamName, "--shard-id", put.ShardID,
		"--shard-iterator-type", "TRIM_HORIZON")
	var page struct {
		Records []struct {
			SequenceNumber string `json:"SequenceNumber"`
			PartitionKey   string `json:"PartitionKey"`
			Data           []byte `json:"Data"`
		} `json:"Records"`
	}
	aws(&page, "get-records", "--shard-iterator", iterator.ShardIterator)

	if len(page.Records) != 1 {
		t.Fatalf("%d records read, want 1", len(page.Records))
	}
	if r := page.Records[0]; r.SequenceNumber != put.SequenceNumber || r.PartitionKey != event.Key ||
		string(r.Data) != string(event.Data) {
		t.Errorf("read %+v, put %s under %s", r, event.Key, put.SequenceNumber)
	}
	database := newDatabase(t)
	runUntilCaughtUp(t, endpoint, database)
	if got := query(t, database, "SELECT shard || ' ' || seq FROM events"); got != put.ShardID+" "+put.SequenceNumber {
		t.Errorf("queued %q, put %s %s", got, put.ShardID, put.SequenceNumber)
	}
}
