package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// statusTimeout is how long looking at the store may take.
const statusTimeout = 10 * time.Second

func newStatus(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var check bool
	var lostAfter string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what the processes on a store do, and how far they are",
		Long: `Say what the processes on a store do, and how far they are: each shard with its state, leader and position, the age of
its last event and of its last commit; the length of the queue, the dead letters, and what may have been lost. It
reads the store and changes nothing.

With --check, trouble makes the exit code 3: no process running, a shard that nobody reads or that does not go on,
progress that was not committed for two minutes, intervals that may have been lost, events removed after their
retention that no consumer had read. What is known already is left out with --lost-after.`,
		Example: `  gerritstream status --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream status --zuul-conf /etc/zuul/zuul.conf --connection gerrit
  gerritstream status --config /etc/gerritstream/gerrit.yaml -o json
  gerritstream status --check --lost-after 2026-01-31T08:00:00Z`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l := look{now: time.Now()}
			if lostAfter != "" {
				t, err := time.Parse(time.RFC3339, lostAfter)
				if err != nil {
					return &usageError{cmd.CommandPath(), fmt.Errorf("--lost-after %q is not a time such as 2026-01-31T08:00:00Z", lostAfter)}
				}
				l.lostAfter = t
			}
			src := sources(cmd, p)
			src.StoreOnly = true
			c, err := config.Load(src)
			if err != nil {
				return err
			}
			return showStatus(cmd.Context(), p, &c, l, output, check)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit with code 3 if there is trouble")
	cmd.Flags().StringVar(&lostAfter, "lost-after", "", "overlook intervals that end before this `time`")
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// showStatus looks at the store and prints what it finds.
func showStatus(ctx context.Context, p process, c *config.Config, l look, output *output, check bool) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	inspection, err := c.Inspect(ctx)
	if err != nil && check {
		return &checkError{err}
	}
	if err != nil {
		return err
	}
	l.connection, l.store, l.inspection = c.Connection, c.Store.String(), inspection
	v := l.view()
	if output.is("json") {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(&v)
	} else if err = v.writeTable(p.stdout); !check { // a check's findings go where errors go
		v.writeTrouble(p.stdout)
	}
	if err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	if found := v.findings(); check && found != nil {
		return &checkError{found}
	}
	return nil
}
