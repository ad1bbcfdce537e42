package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/spf13/cobra"
)

func newDeadletterShow(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var payload, force bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show what is known of a record that was put aside, or the record itself",
		Long: `Show what is known of a record that was put aside; with --payload, write the record itself, byte for byte, to standard
output. Nobody has judged these bytes to be harmless, so that they are not written to a terminal without --force. At most the first
64 KiB of a record are kept.`,
		Example: `  gerritstream deadletter show 0123456789abcdef0123456789abcdef
  gerritstream deadletter show 0123456789abcdef0123456789abcdef --payload | head -c 300 | xxd`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseEventID(args[0])
			switch {
			case err != nil:
			case payload && cmd.Flags().Changed("output"):
				err = errors.New("--payload writes the record as it is: it does not go with --output")
			case payload && !force && isTerminal(p.stdout):
				err = errors.New("the record may hold what a terminal acts on: send it elsewhere, or give --force")
			}
			if err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, _ *config.Config) error {
				l, err := o.DeadLetter(ctx, id)
				switch {
				case err != nil:
					return err
				case payload:
					return writePayload(p, &l)
				case output.is("json"):
					v := viewOf(&l)
					return writeLine(p.stdout, &v)
				}
				return showLetter(p.stdout, &l)
			})
		},
	}
	cmd.Flags().BoolVar(&payload, "payload", false, "write the record as it is, and nothing else")
	cmd.Flags().BoolVar(&force, "force", false, "with --payload: to a terminal as well")
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// writePayload writes what is kept of the record, and says so if that is not
// all.
func writePayload(p process, l *gerritstream.StoredDeadLetter) error {
	if len(l.DeadLetter.Payload) < l.DeadLetter.Length {
		fmt.Fprintf(p.stderr, "gerritstream: only the first %d of %d bytes are kept; %s\n", len(l.DeadLetter.Payload), l.DeadLetter.Length, readAgain(l))
	}
	if _, err := p.stdout.Write(l.DeadLetter.Payload); err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

// showLetter writes what is known of a dead letter for a person.
func showLetter(w io.Writer, l *gerritstream.StoredDeadLetter) error {
	v := viewOf(l)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "id\t%s\nreason\t%s\ndetail\t%s\nshard\t%s\nsequence\t%s\n", v.ID, v.Reason, v.Detail, v.Shard, v.Sequence)
	if v.Sub != nil {
		fmt.Fprintf(t, "part\t%d of an aggregate\n", *v.Sub)
	}
	fmt.Fprintf(t, "arrived\t%s\nput aside\t%s\nbytes\t%s\nsha256\t%s\n", clock(v.Arrived), clock(v.PutAside), v.size(), v.SHA256)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the dead letter: %w", err)
	}
	return nil
}
