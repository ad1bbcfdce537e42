package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/internal/when"
)

// statusTimeout bounds reading the store.
const statusTimeout = 10 * time.Second

func newStatus(p process) *cobra.Command {
	show := statusCommand{process: p, output: outputFlag("table", "wide", "json")}
	var lostAfter string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the processes and shards of a store",
		Long: `Show what the processes on a store do: first in a sentence, then what is wrong, a line for each cause,
the queue and its readers, and each shard with its state, leader, lag and position. RATE is the records read a second
since the leader's process began, with --watch since its last report. Only reads the store.

With --check, trouble makes the exit code 3: no process, a shard that is not read or is stalled, nothing committed for
two minutes, records that may have been lost or soon will be, events that expired before any consumer read them, a
webhook whose receiver has failed for five minutes or wants no more. --lost-after ignores losses that are known
already.`,
		Example: `  gerritstream status --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream status --store postgres://ci@db.example.org/events
  gerritstream status --zuul-conf /etc/zuul/zuul.conf --connection gerrit
  gerritstream status --config /etc/gerritstream/gerrit.yaml -o json
  gerritstream status --watch
  gerritstream status --check --lost-after 2026-01-31T08:00:00Z`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := statusInput{}
			if lostAfter != "" {
				t, err := when.Parse(lostAfter, time.Now())
				if err != nil {
					return &usageError{cmd.CommandPath(), fmt.Errorf("--lost-after: %w", err)}
				}
				in.seen.LostAfter = t
			}
			if show.check && show.watch != 0 {
				return &usageError{cmd.CommandPath(), errors.New("--check looks once: give it or --watch")}
			}
			if cmd.Flags().Changed("watch") && show.watch < leastWatch {
				return &usageError{cmd.CommandPath(), fmt.Errorf("--watch %s is below %s", show.watch, leastWatch)}
			}
			src := sources(cmd, p)
			src.StoreOnly = true
			c, err := config.Load(src)
			if err != nil {
				return err
			}
			show.config = &c
			if show.watch == 0 {
				return show.once(cmd.Context(), in)
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			return show.again(ctx, in)
		},
	}
	cmd.Flags().BoolVar(&show.check, "check", false, "exit with code 3 if there is trouble")
	cmd.Flags().DurationVar(&show.watch, "watch", 0, "look again after each such `duration`, until interrupted; "+
		"--watch alone: 2s")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	cmd.Flags().StringVar(&lostAfter, "lost-after", "", "ignore losses that ended before this `time`")
	show.output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// leastWatch is how often a store is looked at, at most.
const leastWatch = 500 * time.Millisecond

// statusCommand is a run of `status`.
type statusCommand struct {
	process process
	config  *config.Config
	output  *output
	check   bool
	watch   time.Duration // 0: once
}

// once looks once.
func (s *statusCommand) once(ctx context.Context, in statusInput) error {
	v, err := s.look(ctx, &in)
	if err != nil && s.check {
		return &checkError{err}
	}
	if err != nil {
		return err
	}
	if err := s.write(&v); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	if found := v.findings(); s.check && found != nil {
		return &checkError{found}
	}
	return nil
}

// clearScreen moves to the upper left corner and clears what follows (ECMA-48).
const clearScreen = "\x1b[H\x1b[J"

// again looks until ctx ends. A store that cannot be read for a while does not
// end it, unless it is so at first.
func (s *statusCommand) again(ctx context.Context, in statusInput) error {
	separate := "\n"
	if isTerminal(s.process.stdout) {
		separate = clearScreen
	}
	in.seen.History = overview.NewHistory()
	for looks := 0; ; looks++ {
		v, err := s.look(ctx, &in)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && looks == 0:
			return err
		case err != nil:
			_, err = fmt.Fprintf(s.process.stdout, "%s%s: %v\n", separate, time.Now().Format(time.TimeOnly), err)
		default:
			if looks > 0 || separate == clearScreen {
				_, err = io.WriteString(s.process.stdout, separate)
			}
			if err == nil {
				err = s.write(&v)
			}
		}
		if err != nil {
			return fmt.Errorf("write the status: %w", err)
		}
		if !sleep(ctx, s.watch) {
			return nil
		}
	}
}

// look inspects the store.
func (s *statusCommand) look(ctx context.Context, in *statusInput) (v statusView, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	inspection, err := s.config.Inspect(ctx)
	if err != nil {
		return v, err
	}
	known, err := s.config.Consumers(ctx)
	if err != nil {
		return v, err
	}
	if in.seen.Pauses, err = s.config.Pauses(ctx); err != nil {
		return v, err
	}
	in.seen.Now = time.Now()
	in.seen.Store = overview.Store{Inspection: inspection, At: in.seen.Now}
	in.seen.Consumers, in.seen.Webhooks = known.Consumers, known.Views(in.seen.Now)
	in.seen.Setup = overview.Setup{
		Connection: s.config.Connection, Store: s.config.Store.String(), QueueLimit: s.config.Store.QueueLimit(),
		PollInterval: s.config.Kinesis.PollInterval,
	}
	in.remember()
	if in.seen.History != nil {
		in.seen.History.Add(&in.seen, overview.Unknown)
	}
	return in.view(), nil
}

// write writes the status in the format that is asked for.
func (s *statusCommand) write(v *statusView) error {
	if s.output.is("json") {
		enc := json.NewEncoder(s.process.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	t := statusTable{view: v, wide: s.output.is("wide"), colour: s.process.hasColour()}
	if s.check { // the findings go to standard error
		t.quiet = true
	}
	return t.write(s.process.stdout)
}
