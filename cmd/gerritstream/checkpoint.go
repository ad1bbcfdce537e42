package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
)

func newCheckpoint(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Show and change how far each shard has been read",
		Long: `Show and change how far each shard has been read. Positions may be changed while processes run: the one that leads a
shard loses its leadership in the same moment, and whoever leads next reads from the new position.`,
		Example: `  gerritstream checkpoint show
  gerritstream checkpoint set --all --to 2026-01-31T08:00:00Z --dry-run
  gerritstream checkpoint prune --dry-run`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCheckpointShow(p), newCheckpointSet(p), newCheckpointPrune(p))
	return cmd
}

// span is an interval for people and programs. A zero From means that it is not
// known.
type span struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until"`
}

func spanOf(i *gerritstream.Interval) *span {
	if i == nil {
		return nil
	}
	return &span{i.From.UTC(), i.Until.UTC()}
}

// String says when what is in the interval arrived.
func (s *span) String() string {
	until := "until " + s.Until.Format(time.RFC3339Nano)
	if s.From.IsZero() {
		return until
	}
	return "from " + s.From.Format(time.RFC3339Nano) + " " + until
}
