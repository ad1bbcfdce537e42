package bench

import (
	"context"
	"time"
)

// measurement is a row of the table of what is measured.
type measurement struct {
	name        string
	ours, raw   string // what the figures are
	rawOfStream string // of a user's stream, where that differs
	members     bool   // it starts members
	takes       func(o *Options) time.Duration
	run         func(b *bench, ctx context.Context) error //nolint:revive // a method expression
}

// measurements is the table, in the order in which they run. It is never
// written to.
var measurements = []measurement{
	{
		name: "reading",
		ours: "events that the reader of a shard decodes and discards, without its pace",
		raw: "net/http with the same GetRecords requests, whose replies are received and not decoded; " +
			"both with the embedded Kinesis in the same process",
		rawOfStream: "what Kinesis grants all polling readers together, 2 MiB and 2,000 records a second and shard",
		takes: func(o *Options) time.Duration {
			if o.Stream {
				return 3 * o.Ceiling
			}
			return 2 * o.Ceiling
		},
		run: (*bench).reading,
	},
	{
		name:  "classification",
		ours:  "events that are checked, classified and filtered, on one core",
		raw:   "encoding/json.Valid of the standard library on the same events",
		takes: func(o *Options) time.Duration { return o.Ceiling },
		run:   (*bench).classification,
	},
	{
		name: "commit",
		ours: "events committed durably, with position and proof of leadership, by shards that commit at once",
		raw: "a bare client that writes the same events and a position: in SQLite the same rows in one transaction " +
			"for all shards, in ZooKeeper and PostgreSQL one transaction a shard with as many under way as there are " +
			"shards",
		takes: func(o *Options) time.Duration {
			return time.Duration(len(o.Batches)*len(o.Shards)) * (o.Ceiling + time.Second)
		},
		run: (*bench).commits,
	},
	{
		name: "queueing",
		ours: "events from the embedded Kinesis into the store: read without pace, classified and committed, 4 shards",
		raw: "the bare client of commit with the same events, as many a commit as the store takes at once; it " +
			"neither reads nor classifies",
		takes: func(*Options) time.Duration { return turns * time.Second },
		run:   (*bench).queueing,
	},
	{
		name: "delay",
		ours: "from a record's arrival in Kinesis until its event is committed, at the tip of 4 shards",
		raw: "a bare client beside it with the same records: net/http asks each shard five times a second, which is " +
			"all that Kinesis grants, and writes what came; with fan-out it is handed each record at once",
		rawOfStream: "none; the arrival is by the clock of Kinesis, the commit by that of this host",
		takes:       func(o *Options) time.Duration { return o.Delay + 3*time.Second },
		run:         (*bench).delay,
	},
	{
		name:    "hand-over",
		ours:    "from SIGTERM for the process that leads a shard until another one has read the shard",
		members: true,
		raw: "bare clients: in ZooKeeper one deletes its node, and the other, which watches it, lists the election " +
			"and reads the position; in SQLite and PostgreSQL a transaction that frees and one that takes",
		takes: func(o *Options) time.Duration { return time.Duration(o.Handed) * 1800 * time.Millisecond },
		run:   (*bench).handOvers,
	},
	{
		name:    "take-over",
		ours:    "from SIGKILL for the process that leads a shard until another one has read the shard",
		members: true,
		raw: "in ZooKeeper from the cut of a bare client's connection until another bare client hears that its node " +
			"is gone, with the same session timeout; in SQLite and PostgreSQL the lease's time to live",
		takes: func(o *Options) time.Duration { return time.Duration(o.Taken) * (takeOverTime(o) + 2*time.Second) },
		run:   (*bench).takeOvers,
	},
}
