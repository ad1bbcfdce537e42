package zookeeper_test

import (
	"maps"
	"testing"

	"github.com/gerritstream/gerritstream/zookeeper"
)

// TestSchedulersAreCounted: those that are registered below the chroot, and
// nothing is written to look.
func TestSchedulersAreCounted(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	look := func(want int) {
		t.Helper()
		before := cl.nodes()
		n, err := zookeeper.Schedulers(soon(t), cl.config(zookeeper.Config{}))
		if err != nil || n != want {
			t.Errorf("%d schedulers (%v), want %d", n, err, want)
		}
		if after := cl.nodes(); !maps.Equal(before, after) {
			t.Errorf("before %v, after %v", before, after)
		}
	}
	look(0)
	cl.put(cl.chroot+"/zuul/components/web/a", []byte(`{}`))
	look(0)
	cl.put(cl.chroot+"/zuul/components/scheduler/a", []byte(`{}`))
	cl.put(cl.chroot+"/zuul/components/scheduler/b", []byte(`{}`))
	look(2)
}
