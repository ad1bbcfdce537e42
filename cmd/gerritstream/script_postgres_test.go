package main

import (
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// scriptPostgres has the servers of PostgreSQL of all scripts: a plain one and
// one with TLS. The first script that asks starts it.
type scriptPostgres struct {
	plain, secure func() *peers.PostgreSQLServer
}

func newScriptPostgres(tb testing.TB, certificates *peers.Certificates) *scriptPostgres {
	return &scriptPostgres{
		plain: sync.OnceValue(func() *peers.PostgreSQLServer {
			return peers.StartPostgreSQL(tb, peers.PostgreSQLOptions{})
		}),
		secure: sync.OnceValue(func() *peers.PostgreSQLServer {
			return peers.StartPostgreSQL(tb, peers.PostgreSQLOptions{TLS: certificates})
		}),
	}
}

// database makes a database for a script: its address is in $PG, server and
// port in $PG_ADDR. With "secure" the server has TLS; a further argument
// follows CREATE DATABASE.
func (p *scriptPostgres) database(ts *testscript.TestScript, _ bool, args []string) {
	server := p.plain
	if len(args) > 0 && args[0] == "secure" {
		server, args = p.secure, args[1:]
	}
	name := "script_" + strings.ToLower(ts.Name())
	p.run(ts, server(), "postgres", `DROP DATABASE IF EXISTS "`+name+`" WITH (FORCE)`)
	p.run(ts, server(), "postgres", `CREATE DATABASE "`+name+`" `+strings.Join(args, " "))
	ts.Setenv("PG", server().URL(name))
	ts.Setenv("PG_ADDR", server().Addr())
	ts.Setenv("PG_DATABASE", name)
}

// psql runs statements in the script's database, and keeps what they print for
// stdout.
func (p *scriptPostgres) psql(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "psql STATEMENTS")
	server := p.plain()
	if !strings.Contains(ts.Getenv("PG"), server.Addr()) {
		server = p.secure()
	}
	_, _ = ts.Stdout().Write([]byte(p.run(ts, server, ts.Getenv("PG_DATABASE"), strings.Join(args, "; ")) + "\n"))
}

func (p *scriptPostgres) run(
	ts *testscript.TestScript, server *peers.PostgreSQLServer, database, statements string,
) string {
	out, err := server.TrySQL(database, statements)
	ts.Check(err)
	return out
}
