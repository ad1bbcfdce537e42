package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/postgres"
)

// Postgres is what settings say of a store in PostgreSQL.
type Postgres struct {
	Address         string // what follows postgres://, with its password if it has one
	Schema          string // empty: made from the connection
	PasswordCommand string
	Connections     int
}

const postgresPrefix = "postgres://"

// postgresKind is the row of the table of stores.
var postgresKind = &StoreKind{
	prefix:  postgresPrefix,
	form:    "postgres://USER@HOST:PORT/DATABASE",
	Reread:  "Events that the queue still holds are not queued again; those it has already removed are.",
	options: []string{"postgres.schema", "postgres.password_command", "postgres.connections"},
	parse: func(s *Store, address string) error {
		s.Postgres.Address = address
		c := postgres.Config{URL: postgresPrefix + address}
		return c.CheckURL()
	},
	address: func(s *Store) string { return redactPostgres(s.Postgres.Address) },
	retention: func(s *Store) string {
		c := &s.SQLite
		return fmt.Sprint(c.Retention, ", ", c.RetentionMax, ", ", c.RetentionMaxBytes)
	},
	missing: func(ctx context.Context, c *Config) (bool, error) {
		there, err := postgres.Exists(ctx, postgreSQL(c, Runtime{}))
		return !there, err
	},
	mayPass: func(err error) bool {
		for _, lasting := range []error{gerritstream.ErrUnusable, gerritstream.ErrDenied, gerritstream.ErrNewerFormat} {
			if errors.Is(err, lasting) {
				return false
			}
		}
		return true
	},
	open: func(ctx context.Context, c *Config, r Runtime) (OpenStore, error) {
		return postgres.Open(ctx, postgreSQL(c, r))
	},
	operator: func(ctx context.Context, c *Config) (gerritstream.Operator, error) {
		return postgres.OpenOperator(ctx, postgreSQL(c, Runtime{}))
	},
	inspect: func(ctx context.Context, c *Config) (gerritstream.Inspection, error) {
		return postgres.Inspect(ctx, postgreSQL(c, Runtime{}))
	},
	pauses: func(ctx context.Context, c *Config) (pauses.Set, error) {
		r, err := postgres.OpenReader(ctx, postgreSQL(c, Runtime{}))
		if err != nil {
			return nil, err
		}
		set, err := r.Pauses(ctx)
		return set, errors.Join(err, r.Close(ctx))
	},
	queue: func(ctx context.Context, c *Config, r Runtime) (OpenQueue, error) {
		return postgres.OpenQueue(ctx, postgreSQL(c, r))
	},
	reader: func(ctx context.Context, c *Config) (QueueReader, error) {
		return postgres.OpenReader(ctx, postgreSQL(c, Runtime{}))
	},
	readers: consumersOf,
}

// postgreSQL completes the configuration of a store in PostgreSQL.
func postgreSQL(c *Config, r Runtime) postgres.Config {
	p, kept := &c.Store.Postgres, &c.Store.SQLite
	all := postgres.Config{
		URL: postgresPrefix + p.Address, Schema: c.PostgresSchema(), Connections: p.Connections,
		Retention: kept.Retention, RetentionMax: kept.RetentionMax, RetentionMaxBytes: kept.RetentionMaxBytes,
		Process: r.Process, Logger: r.Logger, Now: r.Now,
	}
	if p.PasswordCommand != "" {
		all.Password = (&passwordCommand{text: p.PasswordCommand}).password
	}
	return all
}

// Postgres returns the configuration of the store, which must be in PostgreSQL.
func (c *Config) Postgres() (postgres.Config, error) {
	if c.Store.Kind != postgresKind {
		return postgres.Config{}, Faults{{
			Key: "store", Problem: fmt.Sprintf("%s is not in PostgreSQL; give --store %s", &c.Store, postgresKind.form),
		}}
	}
	return postgreSQL(c, Runtime{}), nil
}

var notInSchemas = regexp.MustCompile(`[^a-z0-9_]+`)

// PostgresSchema returns the schema of the store's tables. By default it is the
// connection's, in characters that need no quotes in SQL.
func (c *Config) PostgresSchema() string {
	if schema := c.Store.Postgres.Schema; schema != "" {
		return schema
	}
	return "gerritstream_" + notInSchemas.ReplaceAllString(strings.ToLower(c.Connection), "_")
}

// checkSchema is the rule of the setting.
func checkSchema(v string) error {
	switch {
	case len(v) > 63:
		return fmt.Errorf("%q is longer than the 63 bytes of a name in PostgreSQL", v)
	case strings.HasPrefix(v, "pg_"):
		return fmt.Errorf("%q: names that begin with pg_ are PostgreSQL's own", v)
	case v == "public":
		return errors.New("the schema must be the connection's own; public is everybody's")
	}
	return nil
}

// secretParameter is a part of an address that holds a secret.
var secretParameter = regexp.MustCompile(`((?:^|[?&])(?:password|sslpassword)=)[^&]*`)

// redactPostgres returns what follows postgres:// without its passwords. Where
// it is not well formed, too much is taken for one rather than too little.
func redactPostgres(address string) string {
	before, _, _ := strings.Cut(address, "?")
	at := strings.LastIndexByte(before, '@')
	if at < 0 { // unless a parameter has it, the password has the question mark
		at = strings.LastIndexByte(address, '@')
	}
	if at >= 0 {
		if user, _, given := strings.Cut(address[:at], ":"); given {
			address = user + ":" + masked + address[at:]
		}
	}
	return secretParameter.ReplaceAllString(address, "${1}"+masked)
}

const (
	passwordPatience = 10 * time.Second
	passwordAge      = time.Minute // tokens of IAM are accepted for 15
	passwordPause    = time.Second // after a failure: every connection that is wanted asks
)

// passwordCommand is a command that prints a password.
type passwordCommand struct {
	text string

	mu   sync.Mutex // held while it runs
	last string     // under mu
	err  error      // under mu: why there is no last
	at   time.Time  // under mu: when it ran
}

// password runs the command, unless it ran a moment ago: a process that starts
// makes several connections.
func (p *passwordCommand) password(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	age := passwordAge
	if p.err != nil {
		age = passwordPause
	}
	if p.at.IsZero() || time.Since(p.at) >= age {
		last, err := runPasswordCommand(ctx, p.text)
		if ctx.Err() != nil { // it may not be the command's fault
			return last, err
		}
		p.last, p.err, p.at = last, err, time.Now()
	}
	return p.last, p.err
}

// runPasswordCommand returns what a command prints. An error has the first line
// of what it said on standard error, and nothing of what it printed.
func runPasswordCommand(ctx context.Context, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, passwordPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", text) //nolint:gosec // the operator's own command
	// What the shell has begun must not outlive it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var stderr bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &stderr, time.Second
	out, err := cmd.Output()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "", fmt.Errorf("postgres.password_command did not end within %v", passwordPatience)
	}
	if err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("postgres.password_command: %w: %s", err, said)
	}
	switch password := strings.TrimRight(string(out), "\r\n"); {
	case password == "":
		return "", errors.New("postgres.password_command printed nothing")
	case strings.ContainsAny(password, "\r\n"):
		return "", errors.New("postgres.password_command printed more than one line")
	default:
		return password, nil
	}
}
