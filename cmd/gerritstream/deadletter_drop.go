package main

import (
	"context"
	"fmt"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/spf13/cobra"
)

func newDeadletterDrop(p process) *cobra.Command {
	var chosen chosenLetters
	var agreed *consent
	cmd := &cobra.Command{
		Use:   "drop ID... | --all",
		Short: "Remove what was put aside, for good",
		Long: `Remove records that were put aside, for good. As long as the stream keeps them they can be read again with "checkpoint
set". The store keeps 1,000 dead letters of 32 MiB together, and only counts what comes after.`,
		Example: `  gerritstream deadletter drop 0123456789abcdef0123456789abcdef --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream deadletter drop --all --reason json --yes`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := chosen.parse(cmd, args); err != nil {
				return err
			}
			if err := agreed.possible(cmd); err != nil {
				return err
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, _ *config.Config) error {
				ids, err := chosen.find(ctx, o)
				if err != nil {
					return err
				}
				dropped := 0
				if len(ids) > 0 {
					if err := agreed.ask(fmt.Sprintf("Drop %s for good?", plural(len(ids), "dead letter"))); err != nil {
						return err
					}
					if dropped, err = o.DropDeadLetters(ctx, ids); err != nil {
						return err
					}
				}
				fmt.Fprintln(p.stdout, plural(dropped, "dead letter"), "dropped")
				return nil
			})
		},
	}
	chosen.register(cmd)
	agreed = consentFlag(cmd, p)
	settingFlags(cmd, config.ForStore)
	return cmd
}
