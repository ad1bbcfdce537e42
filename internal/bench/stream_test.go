package bench_test

import (
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/bench"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// A stream of the user's is only read: with no operation that changes it, that
// registers a consumer, or that takes a subscription from the process that has
// it.
func TestAStreamIsOnlyRead(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "any")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	srv := kinesistest.New(kinesistest.Options{})
	if _, err := srv.CreateStream("gerrit", 2); err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(srv)
	defer served.Close()
	var mu sync.Mutex
	asked := map[string]int{} // under mu
	srv.On(kinesistest.Hook{Do: kinesistest.Observe(func(r *kinesistest.Request, _ *kinesistest.Reply) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.Operation]++
	})})
	put := func() {
		event := []byte(`{"type":"ref-updated","refUpdate":{"project":"p","refName":"refs/heads/main"}}`)
		if _, _, err := srv.Put("gerrit", time.Now().String(), event); err != nil {
			t.Error(err)
		}
	}
	put()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	done, putting := make(chan struct{}), sync.WaitGroup{}
	putting.Go(func() {
		for {
			select {
			case <-tick.C:
				put()
			case <-done:
				return
			}
		}
	})

	o := brief(t, "sqlite:"+t.TempDir()+"/b", "reading", "delay")
	o.Stream, o.Delay = true, 2*time.Second
	o.Config.Kinesis.Stream, o.Config.Kinesis.Region = "gerrit", "us-east-1"
	o.Config.Kinesis.Endpoint, o.Config.Kinesis.Read = served.URL, kinesis.ReadFanOut
	r, err := bench.Run(t.Context(), o)
	close(done)
	putting.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if f := figure(t, r, "delay"); f.Times.Samples < 10 || f.Times.P50 > f.Times.P90 || f.Times.P99 > f.Times.Max {
		t.Errorf("delay: %+v", f.Times)
	}
	mu.Lock()
	defer mu.Unlock()
	reads := []string{"DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"}
	for operation := range asked {
		if !slices.Contains(reads, operation) {
			t.Errorf("%s was asked for %d times", operation, asked[operation])
		}
	}
	if asked["GetRecords"] == 0 {
		t.Error("nothing was read")
	}
}
