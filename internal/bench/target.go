package bench

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/postgres"
)

// target is the store that is measured. Everything in it is the bench's own.
type target interface {
	// part returns the configuration of a new, empty store.
	part(name string) (config.Config, error)

	// bare returns a bare client with nodes, a file or a schema of its own.
	bare(ctx context.Context, name string) (bareClient, error)

	// empty removes the events that a part's queue holds, while it is used.
	empty(ctx context.Context, name string) error

	// drop removes a part, or what a bare client of that name has made. Nobody
	// uses it any more.
	drop(ctx context.Context, name string) error

	// flags are those of `run` for a part, besides --store and --connection.
	flags() []string

	// leftovers says what benches that were killed have left.
	leftovers() []string

	// remove removes everything.
	remove(ctx context.Context) error
}

// bareClient does what a store does without what a store guarantees.
type bareClient interface {
	// writers returns by how many goroutines commits of several shards are
	// written best, and how many events each of them then writes.
	writers(shards, batch int) (count, each int)

	// commit writes events and the positions of that many shards, durably. A
	// writer calls it, each with its number from 0 on.
	commit(ctx context.Context, writer, shards int, entries []gerritstream.Entry) error

	// empty removes the events.
	empty(ctx context.Context) error

	// handOver passes a leadership on, once.
	handOver(ctx context.Context) (time.Duration, error)

	// takeOver waits until the leadership of a client that is gone is free.
	takeOver(ctx context.Context) (time.Duration, error)

	close()
}

// bareShards is how many shards a bare client has positions for.
const bareShards = 64

// claim makes the target, which nobody else uses from then on.
func claim(ctx context.Context, o *Options) (target, error) {
	switch name := o.Config.Store.String(); {
	case strings.HasPrefix(name, "postgres:"):
		return claimPostgres(ctx, o)
	case strings.HasPrefix(name, "sqlite:"):
		return claimSQLite(o)
	}
	return claimZooKeeper(ctx, o)
}

// inUse is the error for a store that somebody uses.
func inUse(format string, args ...any) error {
	return &daemon.ConfigError{Err: fmt.Errorf(format, args...)}
}

// open opens a part as `run` does.
func (b *bench) open(ctx context.Context, name string) (config.OpenStore, error) {
	c, err := b.target.part(name)
	if err != nil {
		return nil, err
	}
	return c.OpenStore(ctx, config.Runtime{Process: "bench-" + name, Logger: slog.New(slog.DiscardHandler)})
}

// closeWithin bounds the closing of a store.
const closeWithin = 5 * time.Second

// closeStore closes a store, also after ctx has ended.
func closeStore(ctx context.Context, store config.OpenStore) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	return store.Close(ctx)
}

// takeOverTime is how long the store keeps the leaderships of a process that
// was killed.
func takeOverTime(o *Options) time.Duration {
	switch s := &o.Config.Store; {
	case s.SQLite.Path != "":
		return leaseTTL
	case s.Postgres.Address != "":
		return postgres.DefaultLeaseTTL
	default:
		return s.ZooKeeper.SessionTimeout
	}
}
