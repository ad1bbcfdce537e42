package daemon

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// TestStoreThatIsAwayIsNoMistake: run waits for a ZooKeeper that does not
// answer, and refuses one that it cannot use, and a file that it cannot read.
func TestStoreThatIsAwayIsNoMistake(t *testing.T) {
	away := errors.New("no server answers")
	for _, tt := range []struct {
		store   string
		err     error
		mistake bool
	}{
		{"zookeeper://zk1", away, false},
		{"zookeeper://zk1", fmt.Errorf("no chroot: %w", gerritstream.ErrUnusable), true},
		{"sqlite:a.db", away, true},
		{"sqlite:a.db", fmt.Errorf("locked: %w", gerritstream.ErrRetryLater), false},
		{"sqlite:a.db", nil, false},
	} {
		var store config.Store
		if err := store.Set(tt.store); err != nil {
			t.Fatal(err)
		}
		var mistake *ConfigError
		if got := errors.As(storeFault(&store, tt.err), &mistake); got != tt.mistake {
			t.Errorf("%s: %v: is it a mistake: %v", tt.store, tt.err, got)
		}
	}
}
