package sqlite

import (
	"context"
	"os"
	"time"

	"github.com/gerritstream/gerritstream/internal/storekit"
)

// touches let the processes of a file wake each other. A process that has
// written something which others may wait for (the end of a leadership, a
// candidacy that begins or ends, member info, the end of a shard) touches the
// -wal file, whose times mean nothing to anybody, and the kernel tells those
// that watch it. Commits of events touch nothing, so that they wake nobody.
//
// Nothing depends on touches. One may get lost, or mean nothing: only the file
// counts, and the watcher looks into it by itself as well.
type touches struct {
	store *Store
	path  string
	wake  func() // the watcher
}

// touchesSettle is how long after a touch the next one is looked for: those
// that come meanwhile count as one.
const touchesSettle = 10 * time.Millisecond

// touch wakes the other processes. Call it after the transaction.
func (o *touches) touch() {
	if err := touch(o.path); err != nil {
		o.store.log.Debug("cannot wake the other processes; they notice later", "err", err)
	}
}

// run wakes the watcher at each touch, for the life of the store.
func (o *touches) run() {
	life := o.store.life
	events, err := watchTouches(o.path)
	if err != nil {
		o.store.log.Debug("cannot be woken by other processes; looking four times a second", "err", err)
		return
	}
	stop := context.AfterFunc(life, func() { _ = events.Close() }) // ends Read
	defer func() {
		if stop() {
			_ = events.Close()
		}
	}()
	for o.next(events) {
		o.wake()
		if !storekit.Sleep(life, touchesSettle) {
			return
		}
	}
}

// next waits for a touch and reports whether there was one.
func (o *touches) next(events *os.File) bool {
	var buf [4 << 10]byte
	if _, err := events.Read(buf[:]); err != nil {
		if o.store.life.Err() == nil {
			o.store.log.Debug("not woken by other processes any more", "err", err)
		}
		return false
	}
	return true
}
