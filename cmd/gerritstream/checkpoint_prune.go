package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/spf13/cobra"
)

func newCheckpointPrune(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var dryRun bool
	var agreed *consent
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove the positions that nobody needs any more",
		Long: `Remove the positions that nobody needs any more: of shards that have ended and that the stream does not list any more,
and of the stream as it was before it was deleted and made anew. A position by which a child of the shard will know
that its parent was read is kept until the child has begun. Nothing else ever removes positions. They are small:
this is for tidiness. With -o json, one line a position.`,
		Example: `  gerritstream checkpoint prune --dry-run --stream gerrit --region us-west-2
  gerritstream checkpoint prune --yes --config /etc/gerritstream/gerrit.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !dryRun {
				if err := agreed.possible(cmd); err != nil {
					return err
				}
			}
			return operate(cmd, p, false, func(ctx context.Context, o operated, c *config.Config) error {
				listing, stored, err := listFor(ctx, o, c)
				if err != nil {
					return err
				}
				plan := plan.Prune(stored, listing)
				if dryRun {
					return writePrune(p.stdout, &plan, output, "would be removed")
				}
				return prune(ctx, o, &plan, agreed, output)
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what it would do")
	agreed = consentFlag(cmd, p)
	output.register(cmd)
	settingFlags(cmd, config.ForStream)
	return cmd
}

// prune removes what the plan says, after asking.
func prune(ctx context.Context, o operated, plan *plan.PrunePlan, agreed *consent, output *output) error {
	if n := len(plan.Remove); n > 0 {
		if !agreed.yes {
			if err := writePrune(agreed.stderr, plan, outputFlag("table"), "is to be removed"); err != nil {
				return err
			}
		}
		if err := agreed.ask(fmt.Sprintf("Remove %s?", plural(n, "position"))); err != nil {
			return err
		}
		if _, err := o.RemovePositions(ctx, plan.Remove); errors.Is(err, gerritstream.ErrConflict) {
			return fmt.Errorf("%w: positions have changed meanwhile, and nothing was removed; try again", err)
		} else if err != nil {
			return err
		}
	}
	return writePrune(agreed.stdout, plan, output, "removed")
}

// pruneView is what becomes of one position, as JSON.
type pruneView struct {
	Epoch  int                  `json:"epoch"`
	Shard  gerritstream.ShardID `json:"shard"`
	Remove bool                 `json:"remove"`
	Why    string               `json:"why,omitempty"` // it is kept
}

// writePrune writes a plan. done says what becomes of positions that go.
func writePrune(w io.Writer, plan *plan.PrunePlan, output *output, done string) error {
	if output.is("table") {
		for _, key := range plan.Remove {
			fmt.Fprintf(w, "epoch %d, %s: %s\n", key.Epoch, key.Shard, done)
		}
		for _, k := range plan.Keep {
			fmt.Fprintf(w, "epoch %d, %s: not listed any more, and kept: %s\n", k.Epoch, k.Shard, k.Why)
		}
		if len(plan.Remove) == 0 {
			fmt.Fprintln(w, "Nothing is to be removed.")
		}
		return nil
	}
	for _, key := range plan.Remove {
		if err := writeLine(w, pruneView{Epoch: key.Epoch, Shard: key.Shard, Remove: true}); err != nil {
			return err
		}
	}
	for _, k := range plan.Keep {
		if err := writeLine(w, pruneView{Epoch: k.Epoch, Shard: k.Shard, Why: k.Why}); err != nil {
			return err
		}
	}
	return nil
}
