package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// resignWithin is how long a store may take to close: others wait for leases or
// a session to run out otherwise.
const resignWithin = time.Second

// lookWithin is how long the stream may take to show itself before a queue is
// made for it.
const lookWithin = 10 * time.Second

// lookFirst asks for the stream before a new file is made for its queue. What would
// end Run at the first listing then leaves nothing behind that looks like a queue;
// anything else is waited for, as it is later.
func (d *Daemon) lookFirst(ctx context.Context) error {
	if underSystemd() || !d.options.Config.Store.Absent() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	_, err := d.source.Source.List(ctx)
	if errors.Is(err, gerritstream.ErrDenied) || errors.Is(err, gerritstream.ErrStreamNotFound) {
		return err
	}
	return nil
}

// openStore opens the store that the configuration names.
func (d *Daemon) openStore(ctx context.Context) error {
	store, err := d.options.Config.OpenStore(ctx, config.Runtime{Process: d.process, Logger: d.log, Now: d.options.Now})
	switch {
	case errors.Is(err, gerritstream.ErrRetryLater), err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		return &ConfigError{err}
	}
	d.store = store
	d.cleanup.add("close the store", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), resignWithin)
		defer cancel()
		return store.Close(ctx)
	})
	return nil
}
