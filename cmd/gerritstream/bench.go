package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/bench"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// benchmark holds the flags of `bench`.
type benchmark struct {
	bench.Options
	quick bool
}

// The bounds of what `bench` measures.
const (
	maxBenchShards = 64
	maxBenchBatch  = 500 // no store takes more at once
	maxBenchRate   = 1000
	maxBenchTime   = time.Hour
	maxBenchRounds = 1000
)

func newBench(p process) *cobra.Command {
	var b benchmark
	output := outputFlag("table", "json")
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what this machine and a store reach, beside their raw ceilings",
		Long: `Measure what gerritstream reaches on this machine and a store: each figure beside what a bare client
reaches on the same store in the same run, and their ratio. Progress goes to standard error, the result to standard
output, as a table or JSON.

` + bench.Help() + `
The store is the bench's own, and removed in the end, also after Ctrl-C or an error. Of sqlite:PATH the bench makes a
folder at PATH, which must not exist; without --store in the current folder. In ZooKeeper it makes connections of its
own with random names, and in a database of PostgreSQL schemas. A ZooKeeper, chroot or server of PostgreSQL that
somebody uses is refused.

Events are made up and come from an embedded Kinesis. With --stream a stream of yours is read, too, from its oldest
record on and then at its tip. It is only read, and its events stay in the bench's own store. Meanwhile the bench takes
its share of the reads that Kinesis grants. A stream that only a file or the environment names is not read.

All of it takes two to four minutes, with --quick half a minute or so, and 300 MB of disk at most.`,
		Example: `  gerritstream bench
  gerritstream bench --quick --store sqlite:/var/lib/gerritstream/bench
  gerritstream bench --store zookeeper://zk1:2181,zk2:2181/bench -o json > bench.json
  gerritstream bench --store 'postgres://bench@db.example.org/bench?sslmode=verify-full'
  gerritstream bench --store zookeeper://127.0.0.1:2181 --only commit --batches 1,10,100 --commit-shards 1,8
  gerritstream bench --only delay --delay 2m --rate 50
  gerritstream bench --only hand-over,take-over --hand-overs 50 --take-overs 5
  gerritstream bench --only reading,delay --stream gerrit --region us-west-2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.quick {
				b.hurry(cmd)
			}
			if err := b.check(); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			if err := b.load(cmd, p); err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			return b.run(ctx, p, output)
		},
	}
	b.register(cmd)
	output.register(cmd)
	settingFlags(cmd, config.ForStream, "kinesis.read", "poll_interval")
	return cmd
}

// register adds the flags that are not settings.
func (b *benchmark) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&b.quick, "quick", false, "measure briefly: half a minute or so, and less exactly")
	f.StringSliceVar(&b.Only, "only", nil, "measure only these: `names` from the list above, as in --only commit,delay")
	f.DurationVar(&b.Ceiling, "duration", 6*time.Second, "`time` for each rate, the raw one included: --duration 20s")
	f.IntSliceVar(&b.Batches, "batches", []int{1, 10, 100}, "`numbers` of events in a commit, as in --batches 50,200")
	f.IntSliceVar(&b.Shards, "commit-shards", []int{1, 8}, "`numbers` of shards that commit at once: --commit-shards 4")
	f.IntVar(&b.Rate, "rate", 50, "`number` of events a second while the delay is measured, as in --rate 200")
	f.DurationVar(&b.Delay, "delay", 30*time.Second, "`time` to measure the delay for, as in --delay 2m")
	f.IntVar(&b.Handed, "hand-overs", 10, "`number` of hand-overs, as in --hand-overs 50")
	f.IntVar(&b.Taken, "take-overs", 3, "`number` of take-overs, each of which waits for a lease or session to expire")
	f.BoolVar(&b.Unpaced, "unpaced", false,
		"read the --stream without pace, for a service without limits: elsewhere all its readers are throttled")
	f.BoolVar(&b.Shared, "beside-others", false,
		"use a ZooKeeper or PostgreSQL that is in use; the bench slows its users down")
}

// hurry shortens what the command line does not set.
func (b *benchmark) hurry(cmd *cobra.Command) {
	set := func(name string, shorten func()) {
		if !cmd.Flags().Changed(name) {
			shorten()
		}
	}
	set("duration", func() { b.Ceiling = 1200 * time.Millisecond })
	set("batches", func() { b.Batches = []int{100} })
	set("delay", func() { b.Delay = 5 * time.Second })
	set("hand-overs", func() { b.Handed = 2 })
	set("take-overs", func() { b.Taken = 1 })
}

// check validates the flags.
func (b *benchmark) check() error {
	for _, name := range b.Only {
		if !slices.Contains(bench.Names(), name) {
			return fmt.Errorf("--only %q is none of %s", name, strings.Join(bench.Names(), ", "))
		}
	}
	for _, list := range []struct {
		flag   string
		values []int
		most   int
	}{
		{"batches", b.Batches, maxBenchBatch}, {"commit-shards", b.Shards, maxBenchShards},
		{"rate", []int{b.Rate}, maxBenchRate}, {"hand-overs", []int{b.Handed}, maxBenchRounds},
		{"take-overs", []int{b.Taken}, maxBenchRounds},
	} {
		for _, n := range list.values {
			if n < 1 || n > list.most {
				return fmt.Errorf("--%s %d is not between 1 and %d", list.flag, n, list.most)
			}
		}
		if len(list.values) == 0 {
			return fmt.Errorf("--%s names no number", list.flag)
		}
	}
	for flag, d := range map[string]time.Duration{"duration": b.Ceiling, "delay": b.Delay} {
		if d < 100*time.Millisecond || d > maxBenchTime {
			return fmt.Errorf("--%s %v is not between 100ms and %v", flag, d, maxBenchTime)
		}
	}
	return nil
}

// load reads the settings, and chooses the store where none is named.
func (b *benchmark) load(cmd *cobra.Command, p process) error {
	src := sources(cmd, p)
	b.Stream = len(src.Flags["stream"]) > 0
	src.StoreOnly = !b.Stream
	named := src.File + src.ZuulConf + p.getenv(config.EnvPrefix+"STORE")
	if len(src.Flags["store"]) == 0 && named == "" {
		src.Flags["store"] = []string{"sqlite:gerritstream-bench-" + strings.ToLower(rand.Text()[:8])}
	}
	if b.Unpaced && !b.Stream {
		return &usageError{cmd.CommandPath(), errors.New("--unpaced needs --stream; the embedded one has no pace")}
	}
	var err error
	b.Config, err = config.Load(src)
	return err
}

// run measures and prints the result.
func (b *benchmark) run(ctx context.Context, p process, output *output) error {
	b.Version, b.Progress = readBuild().Version, p.stderr
	b.Program, _ = os.Executable() // without it, some things are not measured
	report, err := bench.Run(ctx, b.Options)
	if report == nil || err != nil && len(report.Figures) == 0 {
		return err
	}
	var failed error
	if output.is("json") {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		failed = enc.Encode(report)
	} else {
		failed = report.WriteTable(p.stdout)
	}
	if failed != nil {
		err = errors.Join(err, fmt.Errorf("write the result: %w", failed))
	}
	return err
}
