package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/spf13/cobra"
)

func newDeadletterRetry(p process) *cobra.Command {
	var chosen chosenLetters
	var agreed *consent
	cmd := &cobra.Command{
		Use:   "retry ID... | --all",
		Short: "Queue what was put aside, if it is sound by now",
		Long: `Judge records that were put aside once more, by the rules of this version and by the filter as it is configured now, and
queue those that pass, under the ids that they always had: in one transaction the event comes into the queue and the dead
letter goes. The order within the shard is not kept, and sinks do not get the event.

Refused are records that are still bad; those that the filter drops; those of which only the beginning is kept, which have
to be read from the stream again; and those that only a sink refused (reason "rejected"), for these are in the queue, or were,
and would be there twice. What is refused stays where it is, and the exit code is then 1.`,
		Example: `  gerritstream deadletter retry 0123456789abcdef0123456789abcdef --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream deadletter retry --all --reason shape --yes --config /etc/gerritstream/gerrit.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := chosen.parse(cmd, args); err != nil {
				return err
			}
			if err := agreed.possible(cmd); err != nil {
				return err
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, c *config.Config) error {
				filter, err := gerrit.NewFilter(c.Filter)
				if err != nil {
					return &daemon.ConfigError{Err: err}
				}
				ids, err := chosen.find(ctx, o)
				if err != nil {
					return err
				}
				if len(ids) > 0 {
					if err := agreed.ask(fmt.Sprintf("Judge %s once more and queue what passes?", plural(len(ids), "dead letter"))); err != nil {
						return err
					}
				}
				return retryLetters(ctx, p, o, ids, daemon.NewClassifier(filter, nil))
			})
		},
	}
	chosen.register(cmd)
	agreed = consentFlag(cmd, p)
	settingFlags(cmd, config.ForStore, "filter.")
	return cmd
}

// retryLetters queues what passes, and says what became of each.
func retryLetters(ctx context.Context, p process, o operated, ids []gerritstream.EventID, classify gerritstream.Classifier) error {
	queued, refused := 0, 0
	for _, id := range ids {
		err := retryLetter(ctx, o, id, classify)
		var still *refusal
		switch {
		case err == nil:
			queued++
			fmt.Fprintf(p.stdout, "%s: queued\n", id)
		case errors.As(err, &still):
			refused++
			fmt.Fprintf(p.stdout, "%s: refused: %s\n", id, still.why)
		case errors.Is(err, gerritstream.ErrNoDeadLetter):
			fmt.Fprintf(p.stdout, "%s: gone meanwhile\n", id)
		default:
			return fmt.Errorf("%d of %s were queued before: %w", queued, plural(len(ids), "dead letter"), err)
		}
	}
	fmt.Fprintf(p.stdout, "%d queued, %d refused\n", queued, refused)
	if refused > 0 {
		stay := "stay"
		if refused == 1 {
			stay = "stays"
		}
		return fmt.Errorf("%d of %s %s put aside", refused, plural(len(ids), "dead letter"), stay)
	}
	return nil
}

// refusal is why a dead letter stays one, and what can be done.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

// retryLetter queues one dead letter.
func retryLetter(ctx context.Context, o operated, id gerritstream.EventID, classify gerritstream.Classifier) error {
	l, err := o.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	entry, err := plan.Redrive(&l.DeadLetter, classify)
	var still *plan.StillRefusedError
	switch {
	case errors.Is(err, gerritstream.ErrTruncated):
		return &refusal{fmt.Sprintf("only the first %d of %d bytes are kept; %s", len(l.DeadLetter.Payload), l.DeadLetter.Length, readAgain(&l))}
	case errors.As(err, &still):
		return &refusal{printable(still.Reason + ": " + still.Detail)}
	case err != nil:
		return err
	}
	return o.RedriveDeadLetter(ctx, entry)
}
