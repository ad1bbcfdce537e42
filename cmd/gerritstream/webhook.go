package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

func newWebhook(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Show, try, pause and resume webhooks",
		Long: `Show, try, pause and resume webhooks: receivers that the processes post events to, as the list "webhooks"
in the configuration file has them. Each has a place in the queue of its own, and a receiver that is down holds up
nobody else.

What a webhook gave up is among the dead letters: gerritstream deadletter list --webhook NAME.`,
		Example: `  gerritstream webhook ls --config /etc/gerritstream/gerrit.yaml
  gerritstream webhook test jenkins --config /etc/gerritstream/gerrit.yaml
  gerritstream webhook pause jenkins --why "upgrade until noon"
  gerritstream webhook resume jenkins`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newWebhookList(p), newWebhookTest(p), newWebhookPause(p), newWebhookResume(p), newWebhookRemove(p))
	return cmd
}

// storeConfig loads a configuration of which only the store need be there.
func storeConfig(cmd *cobra.Command, p process) (config.Config, error) {
	src := sources(cmd, p)
	src.StoreOnly = true
	return config.Load(src)
}

func newWebhookList(p process) *cobra.Command {
	output := outputFlag("table", "jsonl")
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List webhooks, the worst first",
		Long: `List webhooks, the worst first: since when a receiver fails or a webhook is paused, the last error, when
the receiver is tried again, what waits, and how many events were given up, of which some may be held as dead letters.
With -o jsonl, one line each. Only reads the store.`,
		Example: `  gerritstream webhook ls
  gerritstream webhook ls -o jsonl | jq 'select(.state == "failing")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := storeConfig(cmd, p)
			if err != nil {
				return err
			}
			if err := c.CheckQueue(); err != nil {
				return err
			}
			known, err := c.Consumers(cmd.Context())
			if err != nil {
				return err
			}
			return listWebhooks(p.stdout, known.Views(time.Now()), output)
		},
	}
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

func listWebhooks(w io.Writer, views []hooks.View, output *output) error {
	if output.is("jsonl") {
		for i := range views {
			if err := writeLine(w, &views[i]); err != nil {
				return err
			}
		}
		return nil
	}
	table, now := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), time.Now()
	if len(views) == 0 {
		fmt.Fprintln(table, "no webhooks")
	} else {
		fmt.Fprintln(table, "WEBHOOK\tSTATE\tSINCE\tPENDING\tOLDEST\tNEXT ATTEMPT\tGIVEN UP\tPROCESS\tLAST ERROR")
	}
	for i := range views {
		v := &views[i]
		since, oldest, next, failure := "-", "-", "-", v.Report.LastError
		if !v.Since.IsZero() {
			since = when.Distance(v.Since, now)
		}
		if v.Pending > 0 {
			oldest = when.Span(now.Sub(v.Oldest))
		}
		if v.State == hooks.Failing && v.Report.NextAttempt.After(now) {
			next = when.Distance(v.Report.NextAttempt, now)
		}
		if v.Pause.Why != "" {
			failure = v.Pause.Why
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%d%s\t%s\t%s\n", printable(v.Name), v.State, since, v.Pending,
			oldest, next, v.GivenUp, countIn(v.DeadLetters, " (%d held)"), dash(printable(v.Reader)),
			dash(printable(failure)))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}

// withWebhook opens the queue of the configured store, calls do if there is a
// webhook of that name, in the settings or in the store, and closes it.
func withWebhook(cmd *cobra.Command, p process, name string,
	do func(ctx context.Context, q webhook.Store, v *hooks.View) error,
) error {
	c, err := storeConfig(cmd, p)
	if err != nil {
		return err
	}
	q, err := c.OpenQueue(cmd.Context(), config.Runtime{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	known, err := c.Consumers(cmd.Context())
	if err == nil {
		views := known.Views(time.Now())
		i := slices.IndexFunc(views, func(v hooks.View) bool { return v.Name == name })
		if i < 0 {
			var names []string
			for i := range views {
				names = append(names, views[i].Name)
			}
			err = unknownWebhook(name, names)
		} else {
			err = do(cmd.Context(), q, &views[i])
		}
	}
	return errors.Join(err, q.Close(context.WithoutCancel(cmd.Context())))
}

// unknownWebhook names those that there are.
func unknownWebhook(name string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("webhook %s: there is no such webhook; there are none here; --config names the file of "+
			"those in the settings", name)
	}
	slices.Sort(names)
	return fmt.Errorf("webhook %s: there is no such webhook; there are %s", name, strings.Join(names, ", "))
}

// pausePatience is how long "pause" waits for the process that delivers to
// stop: it looks every two seconds, and finishes requests under way.
const pausePatience = 10 * time.Second

func newWebhookPause(p process) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "pause NAME",
		Short: "Pause a webhook in all processes",
		Long: `Pause a webhook in all processes on the store, running ones and later ones. Its events wait, as for any
consumer that is behind, until "resume". The command returns when no process delivers any more; a request under way is
finished.`,
		Example: `  gerritstream webhook pause jenkins
  gerritstream webhook pause jenkins --why "upgrade until noon" --store sqlite:/var/lib/gerritstream/gerrit.db`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withWebhook(cmd, p, args[0], func(ctx context.Context, q webhook.Store, _ *hooks.View) error {
				name := args[0]
				pause := webhook.Pause{Since: time.Now().UTC(), By: webhook.ByOperator, Why: why}
				if err := q.PauseHook(ctx, name, pause); err != nil {
					return err
				}
				reader, err := awaitIdle(ctx, q, queue.WebhookConsumer(name))
				switch {
				case err != nil:
					return err
				case reader != "":
					return fmt.Errorf("webhook %s is paused, but %s still delivers for it: it may be stuck",
						name, reader)
				}
				fmt.Fprintf(p.stderr, "gerritstream: webhook %s is paused\n", name)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "`reason`, for those who look")
	settingFlags(cmd, config.ForStore)
	return cmd
}

// awaitIdle waits until no process reads as a consumer, and returns the one
// that still does after a while.
func awaitIdle(ctx context.Context, q webhook.Store, consumer string) (reader string, err error) {
	for end := time.Now().Add(pausePatience); ; {
		reader, err = q.Reader(ctx, consumer)
		if err != nil || reader == "" || time.Now().After(end) {
			return reader, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func newWebhookResume(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume NAME",
		Short: "Resume a webhook",
		Long: `Resume a webhook that was paused, by "pause" or because its receiver answered 410 Gone. A running process
goes on with what waits within some seconds.`,
		Example: `  gerritstream webhook resume jenkins`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withWebhook(cmd, p, args[0], func(ctx context.Context, q webhook.Store, v *hooks.View) error {
				if v.Pause.Since.IsZero() {
					fmt.Fprintf(p.stderr, "gerritstream: webhook %s is not paused\n", v.Name)
					return nil
				}
				if err := q.ResumeHook(ctx, v.Name); err != nil {
					return err
				}
				fmt.Fprintf(p.stderr, "gerritstream: webhook %s is resumed; %s wait\n", v.Name,
					plural(int(v.Pending), "event"))
				return nil
			})
		},
	}
	settingFlags(cmd, config.ForStore)
	return cmd
}

func newWebhookRemove(p process) *cobra.Command {
	var confirm *confirmation
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove what the store keeps of a webhook",
		Long: `Remove what the store keeps of a webhook that is no longer in the settings: its place in the queue, its
dead letters and its state. Events are no longer kept for it.`,
		Example: `  gerritstream webhook rm jenkins --yes`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := confirm.possible(cmd); err != nil {
				return err
			}
			return withWebhook(cmd, p, args[0], func(ctx context.Context, q webhook.Store, v *hooks.View) error {
				err := confirm.ask(fmt.Sprintf("Remove webhook %s, for which %s wait, and its %s?", v.Name,
					plural(int(v.Pending), "event"), plural(int(v.DeadLetters), "dead letter")))
				if err != nil {
					return err
				}
				return q.Remove(ctx, queue.WebhookConsumer(v.Name))
			})
		},
	}
	confirm = confirmFlag(cmd, p)
	settingFlags(cmd, config.ForStore)
	return cmd
}
