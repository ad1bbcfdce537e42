package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
)

// Role is what a program does with a store, and so which privileges it needs.
type Role string

// The roles.
const (
	RoleWriter   Role = "writer"   // run: reads a stream into the queue, and delivers to webhooks
	RoleConsumer Role = "consumer" // queue read and replay: takes events from the queue
	RoleOperator Role = "operator" // checkpoint, deadletter, pause, webhook: changes what it is told to
	RoleReader   Role = "reader"   // status, tail, queue ls, and SQL: changes nothing
)

// roleOwner makes the schema, and owns its tables.
const roleOwner Role = "owner"

// Roles returns all roles.
func Roles() []Role { return []Role{RoleWriter, RoleConsumer, RoleOperator, RoleReader} }

// privileges are those that a role needs besides SELECT on all tables. Triggers
// write with the privileges of the role that caused them.
var privileges = map[Role][]struct{ what, tables string }{
	RoleWriter: {
		{"INSERT, UPDATE, DELETE", "start, positions, leases, pauses, processes, members, reports, candidates, head, " +
			"events, dead_letters, dead_letter_room, counters, consumers, additions, webhooks, webhook_letters, " +
			"frontiers, frontier_asked, changes"},
	},
	RoleConsumer: {
		{"INSERT, UPDATE, DELETE", "leases, processes, candidates, consumers"},
		{"INSERT, DELETE", "additions"},
		{"DELETE", "webhooks, webhook_letters"}, // with the consumer
		{"UPDATE", "head, frontier_asked, changes"},
	},
	RoleOperator: {
		{"INSERT, UPDATE, DELETE", "positions, pauses, leases, webhooks, additions"},
		{"INSERT, UPDATE, DELETE", "processes, candidates, consumers"}, // webhook pause takes part as a consumer does
		{"INSERT", "events"}, // a dead letter that is queued after all
		{"UPDATE, DELETE", "dead_letters, webhook_letters"}, // UPDATE to lock them
		{"UPDATE", "head, changes, dead_letter_room, frontier_asked"},
	},
}

// Grants returns the statements that give a role of the server, which must
// exist, what a program needs. The schema and its tables must exist as well.
func Grants(schema string, to Role, role string) string {
	var b strings.Builder
	in, who := quote(schema), quote(role)
	fmt.Fprintf(&b, "GRANT USAGE ON SCHEMA %s TO %s;\n", in, who)
	fmt.Fprintf(&b, "GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s;\n", in, who)
	for _, p := range privileges[to] {
		tables := strings.Split(p.tables, ", ")
		for i, table := range tables {
			tables[i] = in + "." + table
		}
		fmt.Fprintf(&b, "GRANT %s ON %s TO %s;\n", p.what, strings.Join(tables, ", "), who)
	}
	return b.String()
}

// checkPrivileges refuses a role of the server that lacks a privilege which a
// role of ours needs.
func checkPrivileges(ctx context.Context, conn *pgx.Conn, schema string, as Role) error {
	var tables, needed []string
	for _, p := range privileges[as] {
		for table := range strings.SplitSeq(p.tables, ", ") {
			for privilege := range strings.SplitSeq("SELECT, "+p.what, ", ") {
				tables, needed = append(tables, withSchema("@."+table, quote(schema))), append(needed, privilege)
			}
		}
	}
	var user, table, privilege string
	err := conn.QueryRow(ctx, `SELECT current_user, t, p FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u (t, p, i)
		WHERE NOT has_table_privilege(t, p) ORDER BY i LIMIT 1`, tables, needed).Scan(&user, &table, &privilege)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: the role %s lacks a privilege, %s on %s: run the statements of store grants --%s %s",
		gerritstream.ErrDenied, user, privilege, strings.ReplaceAll(table, `"`, ""), as, user)
}

// Create makes the schema and its tables, or brings them up to date. The role
// that does so owns them. The errors are those of Open.
func Create(ctx context.Context, config Config) error {
	_, err := look(config, "create store", func(c *Config) (*server, error) { return prepareSchema(ctx, c, roleOwner) })
	return err
}

// Exists reports whether the schema holds a store, and returns an error where
// none could be kept, or the role of the server may not write to it. It changes
// nothing.
func Exists(ctx context.Context, config Config) (bool, error) {
	found, err := look(config, "look for store", func(c *Config) (*server, error) {
		conn, err := connectOnce(ctx, c)
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		found, err := inspectServer(ctx, conn, c.Schema)
		if err == nil {
			err = found.check(c.Schema)
		}
		if err == nil {
			err = found.checkWritable()
		}
		switch {
		case err != nil:
		case found.version == 0:
			err = checkMayCreate(ctx, conn, c.Schema, found)
		case found.version == len(migrations):
			err = checkPrivileges(ctx, conn, c.Schema, RoleWriter)
		}
		return found, err
	})
	return err == nil && found.version > 0, err
}

// checkMayCreate refuses a role that may not make the schema or, where somebody
// has made it, its tables.
func checkMayCreate(ctx context.Context, conn *pgx.Conn, schema string, found *server) error {
	var may bool
	if found.schema {
		err := conn.QueryRow(ctx, `SELECT has_schema_privilege($1, 'CREATE')`, schema).Scan(&may)
		if err == nil && !may {
			err = fmt.Errorf("%w: the schema has no tables yet, and the role may not make them: run store create "+
				"as a role that may", gerritstream.ErrDenied)
		}
		return err
	}
	err := conn.QueryRow(ctx, `SELECT has_database_privilege(current_database(), 'CREATE')`).Scan(&may)
	if err == nil && !may {
		err = fmt.Errorf("%w: there is no such schema, and the role may not make one: run store create as a "+
			"role that may", gerritstream.ErrDenied)
	}
	return err
}

// look does something with a schema, and names it in an error.
func look(config Config, verb string, do func(*Config) (*server, error)) (*server, error) {
	where := "in PostgreSQL"
	err := config.complete()
	if err == nil {
		if pool, failed := config.connecting(1); failed == nil {
			where = place(pool.ConnConfig, config.Schema)
		}
		var found *server
		if found, err = do(&config); err == nil {
			return found, nil
		}
	}
	return nil, openError(verb, where, err)
}
