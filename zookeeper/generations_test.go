package zookeeper_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// termCounts counts how terms end, and what Kinesis is asked.
type termCounts struct {
	consumer.NopObserver
	mu       sync.Mutex
	terms    int            // under mu
	lost     []error        // under mu: why terms ended by themselves
	asked    map[string]int // under mu: by operation
	refusals map[string]int // under mu: likewise
}

// Elected implements gerritstream.Observer.
func (y *termCounts) Elected(gerritstream.ShardID, uint64, gerritstream.Position, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.terms++
}

// TermEnded implements gerritstream.Observer.
func (y *termCounts) TermEnded(_ gerritstream.ShardID, _ uint64, cause error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if cause != nil {
		y.lost = append(y.lost, cause)
	}
}

func (y *termCounts) watch(q *kinesistest.Request, a *kinesistest.Reply) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.asked[q.Operation]++
	if a.Status != http.StatusOK {
		y.refusals[q.Operation]++
	}
}

// reshard doubles the number of a stream's shards until it is most, and halves
// it again, and returns the open shards.
func reshard(t *testing.T, srv *kinesistest.Server, open []string, most int) ([]string, int) {
	t.Helper()
	few, closed := len(open), 0
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for len(open) < most {
		var next []string
		for _, s := range open {
			a, b, err := srv.Split("gerrit", s)
			must(err)
			next = append(next, a, b)
		}
		closed += len(open)
		open = next
	}
	for len(open) > few {
		var next []string
		for i := 0; i < len(open); i += 2 {
			child, err := srv.Merge("gerrit", open[i], open[i+1])
			must(err)
			next = append(next, child)
		}
		closed += len(open)
		open = next
	}
	return open, closed
}

// Two processes read a stream for the first time whose closed shards, many
// generations of them, are all still listed. They stay within the limits of the
// service: no term is lost, and no request is refused.
func TestManyGenerations(t *testing.T) {
	t.Parallel()
	srv := kinesistest.New(kinesistest.Options{})
	if _, err := srv.CreateStream("gerrit", 3); err != nil {
		t.Fatal(err)
	}
	open, closed := reshard(t, srv, []string{"shardId-000000000000", "shardId-000000000001", "shardId-000000000002"},
		48)
	y := &termCounts{asked: map[string]int{}, refusals: map[string]int{}}
	srv.On(kinesistest.Hook{Do: kinesistest.Observe(y.watch)})
	ensemble := peers.SharedZooKeeper(t, single)
	chroot := peers.Chroot(t, ensemble)
	var all []*consumer.Consumer
	for range 2 {
		source, err := kinesis.New(t.Context(), kinesis.Config{
			Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test", Transport: srv.Transport(),
			Isolated: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		store, err := zookeeper.Open(t.Context(), zookeeper.Config{
			Hosts: []string{ensemble.Hosts()}, Chroot: chroot, Connection: connection, SessionTimeout: steady,
		})
		if err != nil {
			t.Fatal(err)
		}
		l, err := consumer.New(consumer.Config{
			Source: source, Store: store, Observer: y, StartAt: gerritstream.StartingPosition{TrimHorizon: true},
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := store.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the open shards are read at their tips", func() bool {
		led := 0
		for _, l := range all {
			for _, s := range l.Status().Shards {
				if s.Term != 0 && s.AtTip {
					led++
				}
			}
		}
		return led == len(open)
	})
	y.mu.Lock()
	defer y.mu.Unlock()
	t.Logf("%d terms for %d shards; asked: %v", y.terms, closed+len(open), y.asked)
	for _, err := range y.lost {
		t.Errorf("a term was lost: %v", err)
	}
	if len(y.refusals) > 0 {
		t.Errorf("Kinesis refused %v of %v", y.refusals, y.asked)
	}
}
