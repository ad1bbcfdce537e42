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

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/spf13/cobra"
)

func newCheckpointShow(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var shard string
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the position of each shard",
		Long: `Show the position of each shard: behind which record it is read, or from where, until when what arrived has been handled,
and when and in which term that was committed. It reads the store and changes nothing. With -o json, one line a shard.`,
		Example: `  gerritstream checkpoint show --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream checkpoint show --shard shardId-000000000000 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return operate(cmd, p, true, func(ctx context.Context, o operated, _ *config.Config) error {
				stored, err := o.Stored(ctx)
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
	Position     *gerritstream.Position `json:"position"` // null: it cannot be understood
	Unreadable   string                 `json:"unreadable,omitempty"`
	HandledUntil time.Time              `json:"handled_until,omitzero"`
	Committed    time.Time              `json:"committed,omitzero"`
	Term         uint64                 `json:"term"`
}

// positionViews are the positions of all shards, or of one.
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

// showPositions writes what is stored.
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
		fmt.Fprintln(w, "nothing has begun on this store")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SHARD\tTERM\tCOMMITTED\tHANDLED UNTIL\tPOSITION")
	for i := range views {
		v := &views[i]
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", v.Shard, v.Term, clock(v.Committed), clock(v.HandledUntil), v.where())
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the positions: %w", err)
	}
	for i := range views {
		views[i].writeLost(w)
	}
	if n := len(stored.Earlier); n > 0 && only == "" {
		fmt.Fprintf(w, "besides: %s of the stream as it was before it was made anew\n", plural(n, "position"))
	}
	return nil
}

// where says in a few words where the position is.
func (v *positionView) where() string {
	switch {
	case v.Position == nil:
		return "unreadable: " + v.Unreadable
	case v.Position.Ended:
		return v.Position.String() + ", ended"
	}
	return v.Position.String()
}

// writeLost writes the intervals that may be lost.
func (v *positionView) writeLost(w io.Writer) {
	if v.Position == nil {
		return
	}
	for i := range v.Position.Lost {
		lost := &v.Position.Lost[i]
		fmt.Fprintf(w, "%s: what arrived %s may be lost (%s)\n", v.Shard, spanOf(lost), lost.Why)
	}
}

// clock writes a time to the second; "-": there is none.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
