package postgres

import "github.com/jackc/pgx/v5/pgxpool"

// CheckURL returns why the URL cannot be used, as far as that is known without
// a connection: its form, its parameters, and the files that they name. The
// error has no password in it.
func (c *Config) CheckURL() error {
	if _, err := pgxpool.ParseConfig(c.URL); err != nil {
		return redactedParseError(err)
	}
	return nil
}
