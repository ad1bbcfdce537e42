package zookeeper

import (
	"fmt"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// A full queue is its own trouble, however far the error has come.
func TestAFullQueueIsNoTroubleOfZooKeeper(t *testing.T) {
	err := fmt.Errorf("commit: %w", explain(&queueFullError{20, 20}))
	if k := trouble.KindOf(err, trouble.StoreAway); k != trouble.QueueFull {
		t.Errorf("it is %q", k)
	}
	err = fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, errAway)
	if k := trouble.KindOf(err, trouble.StoreAway); k != trouble.StoreAway {
		t.Errorf("ZooKeeper's is %q", k)
	}
}
