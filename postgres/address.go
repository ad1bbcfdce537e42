package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gerritstream/gerritstream"
)

// CheckURL returns why the URL cannot be used, as far as that is known without
// a connection: its form, its parameters, and the files that they name. The
// error has no password in it.
func (c *Config) CheckURL() error {
	_, err := c.parse()
	return err
}

// parse reads the URL, what the environment adds to it, and the files that both
// name. The error has no password in it.
func (c *Config) parse() (*pgxpool.Config, error) {
	pool, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, redactedParseError(err)
	}
	// The library ends a password at its first "@": the rest of it would be
	// looked up, and shown, as a host.
	hosts := []string{pool.ConnConfig.Host}
	for _, f := range pool.ConnConfig.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, host := range hosts {
		if strings.Contains(host, "@") && !strings.HasPrefix(host, "@") { // that is an abstract socket
			return nil, errors.New("the URL cannot be used: write %40 for an @ in the password")
		}
	}
	return pool, nil
}

// reread returns the password that a URL, the environment and the password file
// give by now. ok is false where they cannot be read, or give none.
func (c *Config) reread() (password string, ok bool) {
	pool, err := c.parse()
	if err != nil || pool.ConnConfig.Password == "" {
		return "", false
	}
	return pool.ConnConfig.Password, true
}

// mistakes are what the library says of a parameter, and what to do about it.
var mistakes = []struct{ said, why string }{
	{"sslmode is invalid", "sslmode is not disable, allow, prefer, require, verify-ca or verify-full"},
	{"unable to add CA to cert pool", "the file that sslrootcert names has no certificate in PEM"},
	{"invalid port", "the port is no number; write %2F for a / in the password"},
	{"failed to parse as URL", "it must be postgres://user@host:5432/database"},
}

// redactedParseError returns the error of a URL without the URL, which may have
// a password in it.
func redactedParseError(err error) error {
	const cannot = "the URL cannot be used: "
	var parse *pgconn.ParseConfigError
	if !errors.As(err, &parse) {
		return errors.New(cannot + "it cannot be read")
	}
	text, detail := parse.Error(), "" // cannot parse `URL`: text (detail)
	if why := parse.Unwrap(); why != nil {
		text = strings.TrimSuffix(text, " ("+why.Error()+")")
		if !strings.Contains(why.Error(), parse.ConnString) {
			detail = why.Error()
		}
	}
	text = text[strings.LastIndex(text, "`: ")+len("`: "):]
	for _, m := range mistakes {
		if strings.Contains(detail, m.said) || strings.Contains(text, m.said) && detail == "" {
			return errors.New(cannot + m.why)
		}
	}
	if detail != "" {
		text += ": " + detail
	}
	return errors.New(cannot + text)
}

// passwordError is the error of a Config's Password.
type passwordError struct{ err error }

func (e *passwordError) Error() string { return "no password: " + e.err.Error() }
func (e *passwordError) Unwrap() error { return e.err }

// notConnected reports whether no connection could be made. A process that had
// some waits until there are any again, whatever the reason.
func notConnected(err error) bool {
	var connecting *pgconn.ConnectError
	var password *passwordError
	return errors.As(err, &connecting) || errors.As(err, &password)
}

// codeOfPooler returns the code that a server would give to what PgBouncer
// refuses with one code for all.
func codeOfPooler(message string) string {
	switch {
	case strings.HasPrefix(message, "no such database"):
		return "3D000"
	case strings.HasPrefix(message, "no such user"), strings.HasSuffix(message, "authentication failed"):
		return "28P01"
	}
	return "08P01"
}

// flat has an error of connecting in one line, for logs and reports.
func flat(err error) error {
	if notConnected(err) {
		return oneLine{err}
	}
	return err
}

// explainConnect turns the error of a first connection into the Store's.
// without: no password was given.
func explainConnect(err error, without bool) error {
	var password *passwordError
	c := code(err)
	if c == "08P01" {
		c = codeOfPooler(serverError(err).Message)
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &password):
		return fmt.Errorf("%w: %w", gerritstream.ErrDenied, err)
	case c == "3D000":
		return fmt.Errorf("%w: there is no such database: %w", gerritstream.ErrUnusable, err)
	case c == "28P01" && without:
		return fmt.Errorf("%w: there is no password in the address, in PGPASSWORD, or for this server, database and "+
			"user in the password file (PGPASSFILE or ~/.pgpass): %w", gerritstream.ErrDenied, err)
	case c == "28P01":
		return fmt.Errorf("%w: the server refuses the user: check the name and the password: %w",
			gerritstream.ErrDenied, err)
	case c == "28000":
		return fmt.Errorf("%w: the server does not let this user in: check the name, and whether its pg_hba.conf "+
			"wants TLS (sslmode): %w", gerritstream.ErrDenied, err)
	case c == "42704", c == "22023":
		return fmt.Errorf("%w: the server does not take a parameter of the address: %w", gerritstream.ErrUnusable, err)
	case strings.Contains(err.Error(), "invalid body length"):
		return fmt.Errorf("what answers does not speak PostgreSQL's protocol: check host and port: %w", err)
	}
	return err
}
