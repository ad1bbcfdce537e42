package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// resignWithin is how long a store may take to close: others wait for leases or
// a session to run out otherwise.
const resignWithin = time.Second

// closingStore is a store with what ends it.
type closingStore interface {
	gerritstream.Store
	Close(context.Context) error
}

// lookWithin is how long the stream may take to show itself before a queue is
// made for it.
const lookWithin = 10 * time.Second

// lookFirst asks for the stream before a new file is made for its queue. What would
// end Run at the first listing then leaves nothing behind that looks like a queue;
// anything else is waited for, as it is later.
func (d *Daemon) lookFirst(ctx context.Context) error {
	store := &d.options.Config.Store
	if store.Kind() != config.StoreSQLite || underSystemd() {
		return nil
	}
	if _, err := os.Stat(store.SQLite); !errors.Is(err, fs.ErrNotExist) {
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
	store, err := d.openKind(ctx)
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

// openKind opens a store of the kind that the configuration names.
func (d *Daemon) openKind(ctx context.Context) (closingStore, error) {
	c := &d.options.Config
	switch c.Store.Kind() {
	case config.StoreSQLite:
		if c.Store.Home != "" {
			if err := os.MkdirAll(c.Store.Home, 0o700); err != nil {
				return nil, fmt.Errorf("make the user's state folder: %w", err)
			}
		}
		return sqlite.Open(ctx, sqlite.Config{
			Path: c.Store.SQLite, GroupAccess: c.SQLite.GroupAccess, Process: d.process, Retention: c.Retention, Logger: d.log, Now: d.options.Now,
		})
	case config.StoreZooKeeper:
		zk := zooKeeper(c)
		zk.Process, zk.Logger, zk.Now = d.process, d.log, d.options.Now
		return zookeeper.Open(ctx, zk)
	}
	return nil, errNoStore
}

// zooKeeper says how a configuration's ZooKeeper is reached.
func zooKeeper(c *config.Config) zookeeper.Config {
	zk := zookeeper.Config{
		Hosts: c.Store.Servers, Chroot: c.Store.Chroot, Connection: c.Connection,
		SessionTimeout: c.ZooKeeper.SessionTimeout, QueueLimit: c.ZooKeeper.QueueLimit,
	}
	if t := c.ZooKeeper.TLS; t.CA != "" {
		zk.TLS = &zookeeper.TLS{Cert: t.Cert, Key: t.Key, CA: t.CA, VerifyHostname: t.VerifyHostname}
	}
	return zk
}

// Inspect looks at the store that a configuration names, without taking part in
// anything.
func Inspect(ctx context.Context, c *config.Config) (gerritstream.Inspection, error) {
	switch c.Store.Kind() {
	case config.StoreSQLite:
		return sqlite.Inspect(ctx, c.Store.SQLite)
	case config.StoreZooKeeper:
		in, err := zookeeper.Inspect(ctx, zooKeeper(c))
		return in, zooKeeperFault(err)
	}
	return gerritstream.Inspection{}, &ConfigError{errNoStore}
}

// zooKeeperFault makes a ConfigError of it when somebody has to change how
// ZooKeeper or this process is set up.
func zooKeeperFault(err error) error {
	if errors.Is(err, zookeeper.ErrConfig) {
		return &ConfigError{err}
	}
	return err
}

// OpenOperator opens the store that a configuration names for an operator, who
// closes it.
func OpenOperator(ctx context.Context, c *config.Config) (gerritstream.Operator, error) {
	switch c.Store.Kind() {
	case config.StoreSQLite:
		return sqlite.OpenOperator(ctx, c.Store.SQLite)
	case config.StoreZooKeeper:
		o, err := zookeeper.OpenOperator(ctx, zooKeeper(c))
		if err != nil {
			return nil, zooKeeperFault(err)
		}
		return o, nil
	}
	return nil, &ConfigError{errNoStore}
}

// errNoStore: the configuration names no store. One that was loaded does.
var errNoStore = errors.New("no store is named")
