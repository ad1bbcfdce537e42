package zookeeper_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// A commit that is on its way when a pause is made, or any other change to the
// pauses, is refused by the servers, whatever its process has heard. If its own
// shard is not paused it is sent again.
func TestAPauseOvertakesACommit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, three)
	store, operator := c.open(zookeeper.Config{}), openOperator(t, c.config(zookeeper.Config{}))
	a, b := elect(t, store, "a"), elect(t, store, "b")
	committing, changed := make(chan struct{}), make(chan struct{})
	store.Intercept(func(p storekit.Point, write func() error) error {
		if p == storekit.PointCommit {
			committing <- struct{}{}
			<-changed
		}
		return write()
	})
	for i, term := range []gerritstream.Term{a, b} {
		shard := gerritstream.ShardID([]string{"a", "b"}[i])
		done := make(chan error, 1)
		go func() {
			done <- term.Commit(t.Context(), gerritstream.Commit{
				Position: after(1), Entries: []gerritstream.Entry{event(shard, 1, 100)},
			})
		}()
		<-committing
		_, err := operator.ChangePauses(t.Context(), func(pauses.Set) (pauses.Set, error) {
			return pauses.Set{{Shard: "a", Since: time.Now().UTC(), By: string(shard)}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		changed <- struct{}{}
		err = <-done
		switch {
		case shard == "a" && !errors.Is(err, pauses.ErrPaused):
			t.Errorf("a commit of the paused shard returned %v", err)
		case shard == "b" && err != nil:
			t.Errorf("a commit of another shard returned %v", err)
		}
	}
	if entries := c.entries(); len(entries) != 1 || a.Context().Err() != nil {
		t.Errorf("the queue has %d events", len(entries))
	}
}
