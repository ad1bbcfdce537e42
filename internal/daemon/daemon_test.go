package daemon

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// judgements counts verdicts.
type judgements struct {
	consumer.NopObserver
	count atomic.Int64
}

func (j *judgements) Judged(gerritstream.ShardID, *gerritstream.Record, *gerritstream.Verdict) {
	j.count.Add(1)
}

// TestEmbeddedKinesis: with a transport, no credentials are needed and the
// user's setup for AWS is ignored. The observer is called besides the metrics.
func TestEmbeddedKinesis(t *testing.T) {
	t.Setenv("AWS_PROFILE", "missing")
	srv := kinesistest.New(kinesistest.Options{})
	if _, err := srv.CreateStream("gerrit", 1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := srv.Put("gerrit", "key", []byte(merged)); err != nil {
			t.Fatal(err)
		}
	}
	c := config.Defaults()
	c.Kinesis.Stream, c.Kinesis.Region, c.Admin, c.StartAt.TrimHorizon = "gerrit", "us-east-1", config.AdminOff, true
	if err := c.Store.Set("sqlite:" + filepath.Join(t.TempDir(), "g.db")); err != nil {
		t.Fatal(err)
	}
	var judged judgements
	d, err := New(t.Context(), Options{Config: c, UntilCaughtUp: true, Transport: srv.Transport(), Observer: &judged})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := judged.count.Load(); n != 3 {
		t.Errorf("the observer saw %d records, want 3", n)
	}
	var read uint64
	for _, shard := range d.consumer.Status().Shards {
		read += shard.Counts.Queued
	}
	if read != 3 {
		t.Errorf("%d events were queued, not 3", read)
	}
}
