package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
)

func newCheckpointPrune(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var dryRun bool
	var confirm *confirmation
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove positions that are no longer needed",
		Long: `Remove positions that are no longer needed: those of shards that have ended and are no longer listed, and
those from before the stream was deleted and recreated. A position that tells a child of the shard that its parent
was read is kept until the child has begun. Nothing else ever removes positions; they are small, so this is only for
tidiness. With -o json, one line a position.`,
		Example: `  gerritstream checkpoint prune --dry-run --stream gerrit --region us-west-2
  gerritstream checkpoint prune --yes --config /etc/gerritstream/gerrit.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !dryRun {
				if err := confirm.possible(cmd); err != nil {
					return err
				}
			}
			return operate(cmd, p, false, func(ctx context.Context, o operated, c *config.Config) error {
				listing, stored, err := listFor(ctx, o, c)
				if err != nil {
					return err
				}
				planned := plan.Prune(stored, listing)
				if dryRun {
					return writePrune(p.stdout, &planned, output, "would be removed")
				}
				return prune(ctx, o, &planned, confirm, output)
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would be removed")
	confirm = confirmFlag(cmd, p)
	output.register(cmd)
	settingFlags(cmd, config.ForStream)
	return cmd
}

// prune removes the planned positions, once confirmed.
func prune(ctx context.Context, o operated, planned *plan.PrunePlan, confirm *confirmation, output *output) error {
	if n := len(planned.Remove); n > 0 {
		if !confirm.yes {
			if err := writePrune(confirm.process.stderr, planned, outputFlag("table"), "to be removed"); err != nil {
				return err
			}
		}
		if err := confirm.ask(fmt.Sprintf("Remove %s?", plural(n, "position"))); err != nil {
			return err
		}
		if _, err := o.store.RemovePositions(ctx, planned.Remove); errors.Is(err, gerritstream.ErrConflict) {
			return fmt.Errorf("%w: positions changed in the meantime and nothing was removed; try again", err)
		} else if err != nil {
			return err
		}
	}
	return writePrune(confirm.process.stdout, planned, output, "removed")
}

// pruneView is what happens to one position, as JSON.
type pruneView struct {
	Epoch  int                  `json:"epoch"`
	Shard  gerritstream.ShardID `json:"shard"`
	Remove bool                 `json:"remove"`
	Why    string               `json:"why,omitempty"` // why it is kept
}

// writePrune writes a plan; removed is what it says of positions that go.
func writePrune(w io.Writer, planned *plan.PrunePlan, output *output, removed string) error {
	var views []pruneView
	for _, key := range planned.Remove {
		views = append(views, pruneView{Epoch: key.Epoch, Shard: key.Shard, Remove: true})
	}
	for _, k := range planned.Keep {
		views = append(views, pruneView{Epoch: k.Key.Epoch, Shard: k.Key.Shard, Why: k.Why})
	}
	for _, v := range views {
		switch {
		case output.is("json"):
			if err := writeLine(w, v); err != nil {
				return err
			}
		case v.Remove:
			fmt.Fprintf(w, "epoch %d, %s: %s\n", v.Epoch, v.Shard, removed)
		default:
			fmt.Fprintf(w, "epoch %d, %s: no longer listed, but kept: %s\n", v.Epoch, v.Shard, v.Why)
		}
	}
	if len(planned.Remove) == 0 && output.is("table") {
		fmt.Fprintln(w, "Nothing to remove.")
	}
	return nil
}
