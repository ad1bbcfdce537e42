package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/api"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
)

func newQueue(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Read the queue as a consumer, and look after consumers",
		Long: `Read the queue as a consumer, and look after consumers. A consumer is a name with a place in the queue:
what it has acknowledged does not come again, and what it has not is kept for it longer than other
events. One process at a time reads as a name; another one waits and takes over.

Consumers belong to a store in SQLite or PostgreSQL. Zuul consumes the queue in ZooKeeper.`,
		Example: `  gerritstream queue read --consumer indexer --create first --max 10
  gerritstream queue read --consumer indexer --follow -- ./index-events
  gerritstream queue ls
  gerritstream queue seek indexer -24h`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newQueueRead(p), newQueueAck(p), newQueueList(p), newQueueShow(p), newQueueSeek(p),
		newQueueFilter(p), newQueueRemove(p))
	return cmd
}

// withQueue opens the queue of the configured store, calls do, and closes it.
func withQueue(cmd *cobra.Command, p process, do func(ctx context.Context, q queue.Store) error) error {
	src := sources(cmd, p)
	src.StoreOnly = true
	c, err := config.Load(src)
	if err != nil {
		return err
	}
	q, err := c.OpenQueue(cmd.Context(), config.Runtime{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return errors.Join(do(cmd.Context(), q), q.Close(context.WithoutCancel(cmd.Context())))
}

// withQueueReader is withQueue for commands that only look: they change
// nothing in the store, not even the version of its format.
func withQueueReader(
	cmd *cobra.Command, p process, do func(ctx context.Context, r config.QueueReader) error,
) error {
	src := sources(cmd, p)
	src.StoreOnly = true
	c, err := config.Load(src)
	if err != nil {
		return err
	}
	r, err := c.OpenQueueReader(cmd.Context())
	if err != nil {
		return err
	}
	return errors.Join(do(cmd.Context(), r), r.Close(context.WithoutCancel(cmd.Context())))
}

// lister knows the consumers.
type lister interface {
	Consumers(ctx context.Context) ([]queue.Info, error)
}

// leasePatience is how long commands that take milliseconds wait for a process
// that reads as the same name: longer than one that was killed keeps the lease.
const leasePatience = max(sqlite.DefaultLeaseTTL, postgres.DefaultLeaseTTL) + time.Second

func newQueueAck(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ack NAME NUMBER",
		Short: "Acknowledge events that were handed out",
		Long: `Acknowledge the events up to a number, the "n" of the last one handled. It only moves forward, and no
further than was handed out; "queue seek" moves anywhere.`,
		Example: `  gerritstream queue ack indexer 4711`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || n < 0 {
				return &usageError{cmd.CommandPath(), fmt.Errorf("%q is not the number of an event", args[1])}
			}
			return withQueue(cmd, p, func(ctx context.Context, q queue.Store) error {
				short, cancel := context.WithTimeout(ctx, leasePatience)
				defer cancel()
				if err := queue.Acknowledge(short, q, args[0], n); err != nil {
					return explainConsumer(ctx, q, args[0], err)
				}
				return nil
			})
		},
	}
	settingFlags(cmd, config.ForStore)
	return cmd
}

// explainConsumer adds to an error what a person needs: who reads as the name,
// or which names there are.
func explainConsumer(ctx context.Context, q lister, name string, err error) error {
	infos, failed := q.Consumers(ctx)
	switch {
	case failed != nil:
	case errors.Is(err, queue.ErrNoConsumer):
		var names []string
		for i := range infos {
			names = append(names, infos[i].Name)
		}
		known := "there are none"
		if len(names) > 0 {
			known = "there are " + strings.Join(names, ", ")
		}
		return fmt.Errorf("%w; %s; queue read --create makes one", err, known)
	case errors.Is(err, context.DeadlineExceeded):
		if info := consumerNamed(infos, name); info != nil && info.Reader != "" {
			return fmt.Errorf("consumer %s: %w: %s", name, queue.ErrHeld, info.Reader)
		}
	}
	return err
}

func consumerNamed(infos []queue.Info, name string) *queue.Info {
	for i := range infos {
		if infos[i].Name == name {
			return &infos[i]
		}
	}
	return nil
}

func newQueueList(p process) *cobra.Command {
	output := outputFlag("table", "json")
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List consumers",
		Long: `List consumers: how many events wait for each, since when the oldest does, who reads, and how many events
were removed before they were acknowledged. With -o json, one line each.`,
		Example: `  gerritstream queue ls
  gerritstream queue ls -o json | jq 'select(.expired > 0)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withQueueReader(cmd, p, func(ctx context.Context, r config.QueueReader) error {
				infos, err := r.Consumers(ctx)
				if err != nil {
					return err
				}
				return listConsumers(p.stdout, infos, output)
			})
		},
	}
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

func listConsumers(w io.Writer, infos []queue.Info, output *output) error {
	if output.is("json") {
		for i := range infos {
			if err := writeLine(w, &infos[i]); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(infos) == 0 {
		fmt.Fprintln(table, "no consumers")
	} else {
		fmt.Fprintln(table, "CONSUMER\tPENDING\tOLDEST\tACKED\tACKED AT\tEXPIRED\tREADER")
	}
	now := time.Now()
	for i := range infos {
		c := &infos[i]
		oldest, reader := "-", "-"
		if !c.Oldest.IsZero() {
			oldest = when.Span(now.Sub(c.Oldest))
		}
		if c.Reader != "" {
			reader = printable(c.Reader)
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%s\t%d\t%s\n",
			printable(c.Name), c.Pending, oldest, c.Acked, when.Distance(c.AckedAt, now), c.Expired, reader)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}

func newQueueShow(p process) *cobra.Command {
	output := outputFlag("table", "json")
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a consumer",
		Example: `  gerritstream queue show indexer`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withQueueReader(cmd, p, func(ctx context.Context, r config.QueueReader) error {
				infos, err := r.Consumers(ctx)
				if err != nil {
					return err
				}
				info := consumerNamed(infos, args[0])
				if info == nil {
					err := fmt.Errorf("consumer %s: %w", args[0], queue.ErrNoConsumer)
					return explainConsumer(ctx, r, args[0], err)
				}
				if output.is("json") {
					return writeLine(p.stdout, info)
				}
				return showConsumer(p.stdout, info)
			})
		},
	}
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// showConsumer writes a consumer for people.
func showConsumer(w io.Writer, c *queue.Info) error {
	t, now := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), time.Now()
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("consumer", "%s", printable(c.Name))
	for _, f := range []struct {
		name     string
		patterns []string
	}{{"types", c.Filter.Types}, {"projects", c.Filter.Projects}, {"refs", c.Filter.Refs}} {
		if len(f.patterns) > 0 {
			row(f.name, "%s", printable(strings.Join(f.patterns, ", ")))
		}
	}
	if c.Fault != "" {
		row("unreadable", "%s", printable(c.Fault))
	}
	row("pending", "%s", plural(int(c.Pending), "event"))
	if !c.Oldest.IsZero() {
		row("oldest", "%s", when.Format(c.Oldest, now))
	}
	row("acknowledged", "up to %d%s, %s", c.Acked, acknowledgedBeyond(c.Beyond), when.Format(c.AckedAt, now))
	row("handed out", "up to %d", c.Handed)
	if c.Reader == "" {
		row("reader", "none")
	} else {
		row("reader", "%s", printable(c.Reader))
	}
	if c.Expired > 0 {
		row("expired unread", "%s, which arrived from %s to %s",
			plural(int(c.Expired), "event"), when.Format(c.ExpiredFrom, now), when.Format(c.ExpiredTo, now))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the consumer: %w", err)
	}
	return nil
}

// acknowledgedBeyond says which events are acknowledged beyond one that is not.
func acknowledgedBeyond(ranges []queue.Range) string {
	const most = 5
	var text strings.Builder
	for i, r := range ranges[:min(most, len(ranges))] {
		if i == 0 {
			text.WriteString(" and ")
		} else {
			text.WriteString(", ")
		}
		fmt.Fprint(&text, r.First)
		if r.Last > r.First {
			fmt.Fprintf(&text, "-%d", r.Last)
		}
	}
	if left := len(ranges) - most; left > 0 {
		fmt.Fprintf(&text, " and %s more", plural(left, "range"))
	}
	return text.String()
}

func newQueueSeek(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seek NAME PLACE",
		Short: "Move a consumer to another place in the queue",
		Long: `Move a consumer, which no process reads at that time, to another place in the queue: "first" is the
oldest event held, "last" behind the newest, a number the "n" of the next event, and a time the first event from then
on. Times:
` + when.Forms + `.`,
		Example: `  gerritstream queue seek indexer -24h
  gerritstream queue seek indexer "yesterday 08:00"
  gerritstream queue seek indexer 4711
  gerritstream queue seek indexer last`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withQueue(cmd, p, func(ctx context.Context, q queue.Store) error {
				after, said, err := api.Locate(ctx, q, args[1])
				if err != nil {
					return &usageError{cmd.CommandPath(), err}
				}
				if err := q.Seek(ctx, args[0], after); err != nil {
					return explainConsumer(ctx, q, args[0], err)
				}
				fmt.Fprintf(p.stderr, "gerritstream: consumer %s goes on at event %d%s\n", args[0], after+1, said)
				return nil
			})
		},
	}
	settingFlags(cmd, config.ForStore)
	return cmd
}

func newQueueFilter(p process) *cobra.Command {
	var filter queue.Filter
	var all bool
	cmd := &cobra.Command{
		Use:   "filter NAME",
		Short: "Give a consumer another filter",
		Long: `Give a consumer, which no process reads at that time, another filter in place of the one it has. It
decides about every event that the consumer has not acknowledged. What the old one dropped and was passed does not come
by itself; "queue seek" goes back, and "replay" hands it on again.`,
		Example: `  gerritstream queue filter indexer --type 'change-*' --type comment-added --project 'platform/*'
  gerritstream queue filter indexer --all`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := filter.Matcher()
			switch narrow := queue.EncodeFilter(filter) != ""; {
			case err != nil:
			case all && narrow:
				err = errors.New("--all does not go with --type, --project and --ref")
			case !all && !narrow:
				err = errors.New("no filter is given: --type, --project, --ref, or --all for every event")
			case strings.Contains(args[0], ":"):
				err = fmt.Errorf("%s is a webhook; its filter is in the configuration file", printable(args[0]))
			}
			if err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			return withQueue(cmd, p, func(ctx context.Context, q queue.Store) error {
				return setFilter(ctx, q, args[0], filter)
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&filter.Types, "type", nil, "only events of this `type`; \"change-*\" is a beginning")
	f.StringSliceVar(&filter.Projects, "project", nil, "only events of this `project`, likewise")
	f.StringSliceVar(&filter.Refs, "ref", nil, "only events about this `ref`, likewise")
	f.BoolVar(&all, "all", false, "every event")
	settingFlags(cmd, config.ForStore)
	return cmd
}

// setFilter changes the filter of a consumer that nobody reads: a process that
// does would go on with the old one.
func setFilter(ctx context.Context, q queue.Store, name string, filter queue.Filter) error {
	infos, err := q.Consumers(ctx)
	if err != nil {
		return err
	}
	if info := consumerNamed(infos, name); info != nil && info.Reader != "" {
		return fmt.Errorf("filter of consumer %s: %w: %s", name, queue.ErrHeld, printable(info.Reader))
	}
	if err := q.SetFilter(ctx, name, filter); err != nil {
		return explainConsumer(ctx, q, name, err)
	}
	return nil
}

func newQueueRemove(p process) *cobra.Command {
	var confirm *confirmation
	cmd := &cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove a consumer",
		Long:    `Remove a consumer, which no process reads at that time. Events are no longer kept for it.`,
		Example: `  gerritstream queue rm indexer --yes`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := confirm.possible(cmd); err != nil {
				return err
			}
			return withQueue(cmd, p, func(ctx context.Context, q queue.Store) error {
				infos, err := q.Consumers(ctx)
				if err != nil {
					return err
				}
				if info := consumerNamed(infos, args[0]); info != nil {
					err := confirm.ask(fmt.Sprintf("Remove consumer %s, for which %s wait?",
						args[0], plural(int(info.Pending), "event")))
					if err != nil {
						return err
					}
				}
				if err := q.Remove(ctx, args[0]); err != nil {
					return explainConsumer(ctx, q, args[0], err)
				}
				return nil
			})
		},
	}
	confirm = confirmFlag(cmd, p)
	settingFlags(cmd, config.ForStore)
	return cmd
}
