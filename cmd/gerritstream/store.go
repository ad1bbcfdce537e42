package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/postgres"
)

func newStore(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Set up a store in PostgreSQL, and move one there",
		Long: `Set up a store in PostgreSQL, and move what a SQLite file holds there. A single role that may
make schemas needs none of this: run makes the schema.`,
		Example: `  gerritstream store create --store postgres://owner@db.example.org/events --connection gerrit
  gerritstream store grants --writer gerritstream --reader ci --connection gerrit
  gerritstream store copy --from sqlite:/var/lib/gerritstream/gerrit.db --to postgres://db.example.org/events`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStoreCreate(p), newStoreGrants(p), newStoreCopy(p))
	return cmd
}

// storeOnly loads a configuration of which only the store counts.
func storeOnly(cmd *cobra.Command, p process) (config.Config, error) {
	src := sources(cmd, p)
	src.StoreOnly = true
	return config.Load(src)
}

func newStoreCreate(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make the schema and its tables, or bring them up to date",
		Long: `Make the schema of a connection and its tables, or bring them up to date after an upgrade. The
role of the server that does so owns them. This is for servers where the role of run may not make
schemas or tables; otherwise run does it by itself.`,
		Example: `  gerritstream store create --store postgres://owner@db.example.org/events --connection gerrit`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := storeOnly(cmd, p)
			if err != nil {
				return err
			}
			server, err := c.Postgres()
			if err != nil {
				return err
			}
			if err := postgres.Create(cmd.Context(), server); err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "The schema %s of %s is up to date.\n", server.Schema, &c.Store)
			return nil
		},
	}
	settingFlags(cmd, config.ForStore)
	return cmd
}

func newStoreGrants(p process) *cobra.Command {
	names := map[postgres.Role]*string{}
	cmd := &cobra.Command{
		Use:   "grants",
		Short: "Print the statements that give roles of PostgreSQL what they need",
		Long: `Print the statements that give roles of PostgreSQL what programs need, and no more: a writer
runs "run", a consumer "queue" and "replay", an operator "checkpoint", "deadletter", "pause", "webhook" and
"queue", and a reader "status", "tail", "queue ls" and SQL of its own. The roles must exist, and so must the
tables, which "run" or "store create" makes. Run the statements as the owner of the schema: nothing
is changed here, and no server is asked.`,
		Example: `  gerritstream store grants --writer gerritstream --reader ci --connection gerrit | psql events`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			src := sources(cmd, p)
			src.StoreOnly = true
			if src.Flags["store"] == nil && src.File == "" {
				src.Flags["store"] = []string{"postgres://"} // none is asked
			}
			c, err := config.Load(src)
			if err != nil {
				return err
			}
			schema, given := c.PostgresSchema(), false
			for _, role := range postgres.Roles() {
				if name := *names[role]; name != "" {
					given = true
					fmt.Fprintf(p.stdout, "-- %s: %s\n%s", role, strings.ReplaceAll(name, "\n", " "),
						postgres.Grants(schema, role, name))
				}
			}
			if !given {
				return &usageError{cmd.CommandPath(),
					errors.New("name a role: --writer, --consumer, --operator or --reader")}
			}
			return nil
		},
	}
	for _, role := range postgres.Roles() {
		names[role] = cmd.Flags().String(string(role), "", "`role` of the server that acts as "+string(role))
	}
	settingFlags(cmd, config.ForStore)
	return cmd
}
