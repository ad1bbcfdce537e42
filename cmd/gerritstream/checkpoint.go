package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/when"
)

func newCheckpoint(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Show and change how far each shard has been read",
		Long: `Show and change how far each shard has been read. Positions may be changed while processes run: the
leader of a shard loses its leadership at that moment, and the next leader reads from the new position.`,
		Example: `  gerritstream checkpoint show
  gerritstream checkpoint set --all --to 2026-01-31T08:00:00Z --dry-run
  gerritstream checkpoint prune --dry-run`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCheckpointShow(p), newCheckpointSet(p), newCheckpointPrune(p))
	return cmd
}

func newCheckpointShow(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var shard string
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the position of each shard",
		Long: `Show the position of each shard: the last record handled or the starting point, the time up to which
everything that arrived has been handled, and when and in which term that was committed. Changes nothing. With -o
json, one line a shard.`,
		Example: `  gerritstream checkpoint show --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream checkpoint show --shard shardId-000000000000 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return operate(cmd, p, true, func(ctx context.Context, o operated, _ *config.Config) error {
				stored, err := o.store.Stored(ctx)
				if err != nil {
					return err
				}
				return showPositions(p.stdout, &stored, gerritstream.ShardID(shard), output)
			})
		},
	}
	cmd.Flags().StringVar(&shard, "shard", "", "show only this `shard`")
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// positionView is a position as `checkpoint show` writes it.
type positionView struct {
	Shard        gerritstream.ShardID   `json:"shard"`
	Epoch        int                    `json:"epoch"`
	Position     *gerritstream.Position `json:"position"` // null: unreadable
	Unreadable   string                 `json:"unreadable,omitempty"`
	HandledUntil time.Time              `json:"handled_until,omitzero"`
	Committed    time.Time              `json:"committed,omitzero"`
	Term         uint64                 `json:"term"`
}

// positionViews returns the positions of all shards, or of one.
func positionViews(stored *gerritstream.Stored, only gerritstream.ShardID) []positionView {
	var views []positionView
	for _, shard := range slices.Sorted(maps.Keys(stored.Positions)) {
		if only != "" && shard != only {
			continue
		}
		s := stored.Positions[shard]
		v := positionView{Shard: shard, Epoch: stored.Epoch(), Committed: s.Committed.UTC(), Term: s.Stamp.Term}
		if err := s.Position.Unreadable; err != nil {
			v.Unreadable = printable(strings.Join(strings.Fields(err.Error()), " "))
		} else {
			v.Position, v.HandledUntil = &s.Position, s.Position.HandledUntil().UTC()
		}
		views = append(views, v)
	}
	return views
}

func showPositions(w io.Writer, stored *gerritstream.Stored, only gerritstream.ShardID, output *output) error {
	views := positionViews(stored, only)
	if only != "" && len(views) == 0 {
		return fmt.Errorf("shard %s has no position", only)
	}
	if output.is("json") {
		for i := range views {
			if err := writeLine(w, &views[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if stored.Origin == nil {
		fmt.Fprintln(w, "no process has run on this store yet")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SHARD\tTERM\tCOMMITTED\tHANDLED UNTIL\tPOSITION")
	for _, v := range views {
		position := "unreadable: " + v.Unreadable
		if v.Position != nil {
			position = describe(v.Position)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", v.Shard, v.Term, clock(v.Committed), clock(v.HandledUntil), position)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the positions: %w", err)
	}
	for _, v := range views {
		if v.Position == nil {
			continue
		}
		for _, lost := range v.Position.Lost {
			fmt.Fprintf(w, "%s: records that arrived %s may be lost (%s)\n", v.Shard, spanOf(&lost), lost.Why)
		}
	}
	if n := len(stored.Earlier); n > 0 && only == "" {
		fmt.Fprintf(w, "also: %s from before the stream was recreated\n", plural(n, "position"))
	}
	return nil
}

// describe writes a position for people.
func describe(p *gerritstream.Position) string {
	if p.Ended {
		return p.String() + ", ended"
	}
	return p.String()
}

// clock writes a time to the second, and how long ago it is, or "-" for none.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339) + " (" + when.Distance(t, time.Now()) + ")"
}

// span is an interval of arrival times. A zero From is unknown.
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

func (s *span) String() string {
	until := "until " + s.Until.Format(time.RFC3339Nano)
	if s.From.IsZero() {
		return until
	}
	return "from " + s.From.Format(time.RFC3339Nano) + " " + until
}
