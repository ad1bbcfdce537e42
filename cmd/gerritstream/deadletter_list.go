package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/spf13/cobra"
)

func newDeadletterList(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var filter letterFilter
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what was put aside, the newest first",
		Long: `List the records that were put aside, the newest first, each with the reason. What is in them is not shown: see
"deadletter show". With -o json, one line each.`,
		Example: `  gerritstream deadletter list --store sqlite:/var/lib/gerritstream/gerrit.db --limit 20
  gerritstream deadletter list --reason utf8 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return &usageError{cmd.CommandPath(), errors.New("--limit is less than 0")}
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, _ *config.Config) error {
				return listLetters(ctx, p.stdout, o, &filter, limit, output)
			})
		},
	}
	filter.register(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "at most this `number` of them (default all)")
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// listLetters writes what is said of dead letters.
func listLetters(ctx context.Context, w io.Writer, o operated, filter *letterFilter, limit int, output *output) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	listed := 0
	for l, err := range o.DeadLetters(ctx) {
		switch {
		case err != nil:
			return err
		case !filter.takes(&l):
			continue
		}
		v := viewOf(&l)
		if output.is("json") {
			if err := writeLine(w, &v); err != nil {
				return err
			}
		} else {
			if listed == 0 {
				fmt.Fprintln(table, "ID\tPUT ASIDE\tREASON\tSHARD\tBYTES\tDETAIL")
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", v.ID, clock(v.PutAside), v.Reason, v.Shard, v.size(), v.Detail)
		}
		if listed++; listed == limit {
			break
		}
	}
	if listed == 0 && output.is("table") {
		fmt.Fprintln(table, "no dead letters")
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}
