package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

func newDeadletterList(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var filter deadLetterFilter
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List dead letters, the newest first",
		Long: `List dead letters, the newest first, each with its reason but without its payload, which "deadletter
show" prints. With -o json, one line each. Those with the reason "webhook" name the webhook that gave them up.`,
		Example: `  gerritstream deadletter list --store sqlite:/var/lib/gerritstream/gerrit.db --limit 20
  gerritstream deadletter list --reason utf8 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return &usageError{cmd.CommandPath(), errors.New("--limit is below 0")}
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, _ *config.Config) error {
				return listDeadLetters(ctx, p.stdout, o, &filter, limit, output)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "list at most this `number` (default all)")
	filter.register(cmd)
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

func listDeadLetters(
	ctx context.Context, w io.Writer, o operated, filter *deadLetterFilter, limit int, output *output,
) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	listed := 0
	for d, err := range o.deadLetters(ctx) {
		if err != nil {
			return err
		}
		if !filter.matches(&d) {
			continue
		}
		v := viewOf(&d)
		if output.is("json") {
			if err := writeLine(w, &v); err != nil {
				return err
			}
		} else {
			if listed == 0 {
				fmt.Fprintln(table, "ID\tSTORED\tREASON\tSHARD\tBYTES\tDETAIL")
			}
			detail := v.Detail
			if v.Webhook != "" {
				detail = printable(v.Webhook) + ": " + detail
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n",
				v.ID, clock(v.StoredAt), v.Reason, v.Shard, v.size(), detail)
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

func newDeadletterShow(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var payload, force bool
	var hook string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a dead letter, or its record",
		Long: `Show a dead letter; with --payload, write its record, byte for byte, to standard output. The record may
contain anything, so it is not written to a terminal without --force. At most the first 64 KiB of a record are kept, and
all of an event that a webhook gave up. An event may have a dead letter for each webhook.`,
		Example: `  gerritstream deadletter show 0123456789abcdef0123456789abcdef
  gerritstream deadletter show 0123456789abcdef0123456789abcdef --payload | head -c 300 | xxd`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseEventID(args[0])
			switch {
			case err != nil:
			case payload && cmd.Flags().Changed("output"):
				err = errors.New("--payload writes the bare record and cannot be combined with --output")
			case payload && !force && isTerminal(p.stdout):
				err = errors.New("the record may contain terminal control sequences; redirect it, or pass --force")
			}
			if err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, _ *config.Config) error {
				found, err := o.deadLettersOf(ctx, id, hook)
				switch {
				case err != nil:
					return err
				case payload:
					return writePayload(p, &found[len(found)-1].stored.DeadLetter) // a webhook's, which is whole
				}
				for i := range found {
					if output.is("json") {
						v := viewOf(&found[i])
						err = writeLine(p.stdout, &v)
					} else {
						err = showDeadLetter(p.stdout, &found[i])
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&payload, "payload", false, "write the record and nothing else")
	cmd.Flags().BoolVar(&force, "force", false, "with --payload: even to a terminal")
	hookFlag(cmd, &hook)
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// writePayload writes what is kept of the record, and warns if that is not all.
func writePayload(p process, d *gerritstream.DeadLetter) error {
	if len(d.Payload) < d.Length {
		fmt.Fprintf(p.stderr, "gerritstream: %s\n", truncated(d))
	}
	if _, err := p.stdout.Write(d.Payload); err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

// showDeadLetter writes a dead letter for people.
func showDeadLetter(w io.Writer, d *heldLetter) error {
	v := viewOf(d)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "id\t%s\nreason\t%s\n", v.ID, v.Reason)
	if v.Webhook != "" {
		fmt.Fprintf(t, "webhook\t%s\n", printable(v.Webhook))
	}
	fmt.Fprintf(t, "detail\t%s\nshard\t%s\nsequence\t%s\n", v.Detail, v.Shard, v.Sequence)
	if v.Sub != nil {
		fmt.Fprintf(t, "part\t%d of an aggregate\n", *v.Sub)
	}
	fmt.Fprintf(t, "arrived\t%s\nstored\t%s\nbytes\t%s\nsha256\t%s\n",
		clock(v.Arrived), clock(v.StoredAt), v.size(), v.SHA256)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the dead letter: %w", err)
	}
	return nil
}
