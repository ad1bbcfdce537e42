package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/sqlite"
)

// storeCopy is one run of "store copy".
type storeCopy struct {
	process  process
	config   config.Config
	server   postgres.Config
	from     *sqlite.Move
	fromName string
	toName   string
	dryRun   bool
	confirm  *confirmation
	output   *output
}

func newStoreCopy(p process) *cobra.Command {
	s := &storeCopy{process: p, output: outputFlag("table", "json")}
	var from, to string
	cancel := false
	cmd := &cobra.Command{
		Use:   "copy",
		Short: "Move what a SQLite file holds into PostgreSQL",
		Long: `Move what a SQLite file holds into PostgreSQL: where the stream begins, positions, the queue with
its numbers, dead letters, consumers with what they have acknowledged, webhooks and their dead
letters. All processes that use the file must be stopped; it is watched for some seconds if one of
them died.

The file is marked first: from then on nobody can use it. Then everything is copied in one transaction, read again,
and compared: each row, and the digest of each payload. If that fails, the file may be used as before. If the command
is killed, run it again: it completes what it began. --cancel gives the file back instead, unless the copy is complete.
Afterwards the file is refused for good, and says where its contents are.`,
		Example: `  gerritstream store copy --from sqlite:/var/lib/gerritstream/gerrit.db --to postgres://db.example.org/events --dry-run
  gerritstream store copy --from sqlite:/var/lib/gerritstream/gerrit.db --config /etc/gerritstream/gerrit.yaml --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !s.dryRun && !cancel {
				if err := s.confirm.possible(cmd); err != nil {
					return err
				}
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			if err := s.open(ctx, cmd, from, to); err != nil {
				return err
			}
			do := s.run
			if cancel {
				do = s.cancel
			}
			return errors.Join(do(ctx), s.from.Close())
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`address` of the store to move: sqlite:PATH")
	cmd.Flags().StringVar(&to, "to", "", "`address` of the store to move it to (default: that of --store)")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "only look whether it could be done, and count")
	cmd.Flags().BoolVar(&cancel, "cancel", false,
		"let the SQLite file be used again after a copy that was not completed")
	s.confirm = confirmFlag(cmd, p)
	s.output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// open looks at both addresses, and opens the file.
func (s *storeCopy) open(ctx context.Context, cmd *cobra.Command, from, to string) (err error) {
	path, ok := strings.CutPrefix(from, "sqlite:")
	if !ok || path == "" {
		return &usageError{cmd.CommandPath(), errors.New("--from must be sqlite:PATH")}
	}
	src := sources(cmd, s.process)
	src.StoreOnly = true
	if to != "" {
		src.Flags["store"] = []string{to}
	}
	if s.config, err = config.Load(src); err != nil {
		return err
	}
	if s.server, err = s.config.Postgres(); err != nil {
		return err
	}
	s.fromName = from
	s.toName = fmt.Sprintf("%s, schema %s", &s.config.Store, s.server.Schema)
	s.from, err = sqlite.OpenMove(ctx, path)
	return err
}

// run copies, or says whether it could.
func (s *storeCopy) run(ctx context.Context) error {
	target, err := postgres.LookAtTarget(ctx, s.server)
	if err != nil {
		return err
	}
	tables, err := s.from.Tables(ctx)
	if err != nil {
		return err
	}
	alive, err := s.from.InUse(ctx)
	if err != nil {
		return err
	}
	if len(alive) > 0 {
		return fmt.Errorf("%w: %s is in use by %s: stop them", gerritstream.ErrUnusable, s.fromName,
			printable(strings.Join(alive, ", ")))
	}
	if s.dryRun {
		said := "would be made"
		switch {
		case target.Held:
			return fmt.Errorf("%w: %s is not empty: either this was copied there before, or it holds another store",
				gerritstream.ErrUnusable, s.toName)
		case target.Made:
			said = "is there, and empty"
		}
		return s.write(rowsOf(tables), fmt.Sprintf("These would be copied to %s, which %s.", s.toName, said))
	}
	question := fmt.Sprintf("Move %s to %s, and never use the file again?", s.fromName, s.toName)
	if err := s.confirm.ask(question); err != nil {
		return err
	}
	return s.copy(ctx)
}

// copy marks the file, has everything taken over, and marks it for good.
func (s *storeCopy) copy(ctx context.Context) error {
	was, err := s.from.Begin(ctx, s.toName)
	if err != nil {
		return err
	}
	if was == sqlite.Moved {
		return s.write(map[string]int64{}, fmt.Sprintf("%s was copied to %s before.", s.fromName, s.toName))
	}
	tables, err := s.from.Tables(ctx) // nobody changes them any more
	var taken postgres.Taken
	if err == nil {
		taken, err = postgres.TakeOver(ctx, s.server, tables, s.progress())
	}
	switch {
	case err != nil && (taken.Unknown || was == sqlite.Moving):
		// The other store may have everything, and be in use.
		return fmt.Errorf("%w; %s stays refused: run the command again, or with --cancel", err, s.fromName)
	case err != nil: // nothing was written
		return errors.Join(err, s.from.Cancel(context.WithoutCancel(ctx)))
	}
	// TakeOver has passed the commit point: the file must not be used again.
	if err := s.from.Finish(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("%w; everything is copied, and %s stays refused: run the command again", err, s.fromName)
	}
	said := "Copied to %s. %s is refused from now on."
	if taken.Was {
		said = "%s had everything already. %s is refused from now on."
	}
	return s.write(taken.Rows, fmt.Sprintf(said, s.toName, s.fromName))
}

// cancel lets the file be used again, unless the other store has its contents.
func (s *storeCopy) cancel(ctx context.Context) error {
	there, err := postgres.Exists(ctx, s.server)
	if err != nil {
		return err
	}
	if there {
		held, err := postgres.Holds(ctx, s.server)
		if err != nil {
			return err
		}
		if held {
			return fmt.Errorf("%w: %s has the contents: run the command without --cancel, or drop that schema first",
				gerritstream.ErrUnusable, s.toName)
		}
	}
	if err := s.from.Cancel(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.process.stdout, "%s may be used again.\n", s.fromName)
	return nil
}

// progress returns a function that writes how far the copy is, now and then.
func (s *storeCopy) progress() func(string, int64) {
	next := time.Now().Add(5 * time.Second)
	return func(table string, rows int64) {
		if now := time.Now(); now.After(next) {
			next = now.Add(5 * time.Second)
			fmt.Fprintf(s.process.stderr, "gerritstream: copying %s: %s\n", table, plural(int(rows), "row"))
		}
	}
}

func rowsOf(tables []storekit.Table) map[string]int64 {
	rows := map[string]int64{}
	for _, t := range tables {
		rows[t.Name] = t.Count
	}
	return rows
}

// copied are the tables that are reported, in this order, by what people call
// them.
var copied = []struct{ table, thing string }{
	{"positions", "position"}, {"events", "event"}, {"dead_letters", "dead letter"}, {"consumers", "consumer"},
	{"additions", "replayed event"}, {"webhooks", "webhook"}, {"webhook_letters", "webhook dead letter"},
}

// write writes the result.
func (s *storeCopy) write(rows map[string]int64, said string) error {
	if s.output.is("json") {
		return writeLine(s.process.stdout, struct {
			From   string           `json:"from"`
			To     string           `json:"to"`
			DryRun bool             `json:"dry_run"`
			Rows   map[string]int64 `json:"rows"`
		}{s.fromName, s.toName, s.dryRun, rows})
	}
	for _, c := range copied {
		fmt.Fprintf(s.process.stdout, "%-12s  %s\n", thousands(int(rows[c.table])), c.thing+"s")
	}
	fmt.Fprintln(s.process.stdout, said)
	return nil
}
