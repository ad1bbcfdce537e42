package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

func newDeadletterRetry(p process) *cobra.Command {
	var selection deadLetterSelection
	var confirm *confirmation
	cmd := &cobra.Command{
		Use:   "retry ID... | --all",
		Short: "Re-check dead letters and queue those that pass",
		Long: `Re-check dead letters by the rules of this version and by the current filter, and queue those that pass
under the ids they always had: one transaction queues the event and removes the dead letter. The order within the
shard is not kept, and sinks do not get the event.

Refused are records that are still bad, records that the filter drops, records of which only the beginning is kept (read
them from the stream again), and records that only a sink refused (reason "rejected"), because these were queued
already. Refused dead letters stay where they are, and the exit code is then 1.

What a webhook gave up (reason "webhook") is not checked: it is queued for that webhook alone, behind all that waits.`,
		Example: `  gerritstream deadletter retry 0123456789abcdef0123456789abcdef --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream deadletter retry --all --reason shape --yes --config /etc/gerritstream/gerrit.yaml
  gerritstream deadletter retry --all --webhook jenkins --yes`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := selection.parse(cmd, args); err != nil {
				return err
			}
			if err := confirm.possible(cmd); err != nil {
				return err
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, c *config.Config) error {
				filter, err := gerrit.NewFilter(c.Filter)
				if err != nil {
					return &daemon.ConfigError{Err: err}
				}
				keys, err := selection.find(ctx, o)
				if err != nil {
					return err
				}
				if n := len(keys); n > 0 {
					err = confirm.ask(fmt.Sprintf("Re-check %s and queue those that pass?", plural(n, "dead letter")))
				}
				if err != nil {
					return err
				}
				return retryDeadLetters(ctx, p, o, keys, daemon.NewClassifier(filter, nil))
			})
		},
	}
	selection.register(cmd)
	confirm = confirmFlag(cmd, p)
	settingFlags(cmd, config.ForStore, "filter.")
	return cmd
}

// retryDeadLetters queues those that pass, and prints the result of each.
func retryDeadLetters(
	ctx context.Context, p process, o operated, keys []letterKey, classify gerritstream.Classifier,
) error {
	queued, refused := 0, 0
	for _, key := range keys {
		why, err := retryDeadLetter(ctx, o, key, classify)
		switch {
		case why != "":
			refused++
			fmt.Fprintf(p.stdout, "%s: refused: %s\n", key.id, why)
		case err == nil && key.hook != "":
			queued++
			fmt.Fprintf(p.stdout, "%s: queued for webhook %s\n", key.id, key.hook)
		case err == nil:
			queued++
			fmt.Fprintf(p.stdout, "%s: queued\n", key.id)
		case errors.Is(err, gerritstream.ErrNoDeadLetter):
			fmt.Fprintf(p.stdout, "%s: already gone\n", key.id)
		default:
			return fmt.Errorf("after queuing %d of %s: %w", queued, plural(len(keys), "dead letter"), err)
		}
	}
	fmt.Fprintf(p.stdout, "%d queued, %d refused\n", queued, refused)
	if refused > 0 {
		return fmt.Errorf("%d of %s refused", refused, plural(len(keys), "dead letter"))
	}
	return nil
}

// retryDeadLetter queues one dead letter, or returns why it is refused.
func retryDeadLetter(
	ctx context.Context, o operated, key letterKey, classify gerritstream.Classifier,
) (refused string, err error) {
	if key.hook != "" {
		err := o.hooks.RedriveHookLetter(ctx, webhook.LetterKey{Hook: key.hook, ID: key.id})
		if errors.Is(err, queue.ErrNoConsumer) {
			return "no process has ever delivered for webhook " + key.hook, nil
		}
		return "", err
	}
	d, err := o.store.DeadLetter(ctx, key.id)
	if err != nil {
		return "", err
	}
	if why, err := whyPaused(ctx, o, d.DeadLetter.Shard); err != nil || why != "" {
		return why, err
	}
	entry, err := plan.Redrive(&d.DeadLetter, classify)
	var still *plan.StillRefusedError
	switch {
	case errors.Is(err, gerritstream.ErrTruncated):
		return truncated(&d.DeadLetter), nil
	case errors.As(err, &still):
		return printable(still.Reason + ": " + still.Detail), nil
	case err != nil:
		return "", err
	}
	return "", o.store.RedriveDeadLetter(ctx, entry)
}

func newDeadletterDrop(p process) *cobra.Command {
	var selection deadLetterSelection
	var confirm *confirmation
	cmd := &cobra.Command{
		Use:   "drop ID... | --all",
		Short: "Remove dead letters for good",
		Long: `Remove dead letters for good. While the stream keeps their records, "checkpoint set" can have them read
again. The store keeps 1,000 dead letters of 32 MiB in all, and only counts further ones.`,
		Example: `  gerritstream deadletter drop 0123456789abcdef0123456789abcdef --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream deadletter drop --all --reason json --yes`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := selection.parse(cmd, args); err != nil {
				return err
			}
			if err := confirm.possible(cmd); err != nil {
				return err
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, _ *config.Config) error {
				keys, err := selection.find(ctx, o)
				if err != nil {
					return err
				}
				dropped := 0
				if n := len(keys); n > 0 {
					if err := confirm.ask(fmt.Sprintf("Drop %s for good?", plural(n, "dead letter"))); err != nil {
						return err
					}
					if dropped, err = o.dropDeadLetters(ctx, keys); err != nil {
						return err
					}
				}
				fmt.Fprintln(p.stdout, plural(dropped, "dead letter"), "dropped")
				return nil
			})
		},
	}
	selection.register(cmd)
	confirm = confirmFlag(cmd, p)
	settingFlags(cmd, config.ForStore)
	return cmd
}
