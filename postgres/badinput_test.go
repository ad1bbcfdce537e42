package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/postgres"
)

// What an operator got wrong is one line that says so, with the error of its
// kind and without the password. Nothing is made or changed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	certificates := peers.MakeCertificates(t)
	plain, secure := peers.SharedPostgreSQL(t), peers.StartPostgreSQL(t, peers.PostgreSQLOptions{TLS: certificates})
	database, pooler := plain.Database(t), peers.StartPgBouncer(t, plain.Addr())
	plain.SQL(t, "postgres", fmt.Sprintf(`CREATE ROLE bad_input LOGIN PASSWORD 's3cret';
		REVOKE CREATE ON DATABASE %s FROM PUBLIC`, database))
	plain.SQL(t, database, `CREATE SCHEMA other; CREATE TABLE other.things (n int);
		CREATE SCHEMA empty;
		CREATE SCHEMA marked; CREATE TABLE marked.gerritstream (name text);
		CREATE SCHEMA newer; CREATE TABLE newer.gerritstream (one boolean, version integer);
		INSERT INTO newer.gerritstream VALUES (true, 1000)`)
	if _, err := openAt(plain.URL(database), "theirs"); err != nil {
		t.Fatal(err)
	}
	plain.SQL(t, database, `CREATE ROLE bad_input_reader LOGIN PASSWORD 's3cret';`+
		postgres.Grants("theirs", postgres.RoleReader, "bad_input_reader"))
	standby, ascii := plain.Database(t), "bad_input_in_sql_ascii"
	plain.SQL(t, "postgres", fmt.Sprintf(`ALTER DATABASE %s SET default_transaction_read_only = on;
		CREATE DATABASE %s TEMPLATE template0 ENCODING 'SQL_ASCII'`, standby, ascii))
	as := func(user, password string) string {
		return strings.Replace(plain.URL(database), "postgres@", user+":"+password+"@", 1)
	}
	tls := func(mode, ca string) string {
		return peers.PostgreSQLURL("postgres", mode+"&sslrootcert="+url.QueryEscape(ca), secure.Addr())
	}
	old := peers.NewPostgreSQLLink(t, plain.Addr()) // passes the server for one of version 12
	number := strings.TrimSpace(plain.SQL(t, "postgres", "SHOW server_version_num"))
	old.Alter(func(reply []byte) []byte { return bytes.ReplaceAll(reply, []byte(number), []byte("120022")) })
	for _, tt := range []struct {
		name, url, schema string
		kind              error
		says              string
	}{
		{"wrong password", as("bad_input", "s3cretive"), "s", gerritstream.ErrDenied, "check the name and the password"},
		{"unknown user", as("nobody", "s3cretive"), "s", gerritstream.ErrDenied, "check the name and the password"},
		{"unknown user of a pooler", strings.Replace(pooler.URL(database), "postgres@", "nobody@", 1), "s",
			gerritstream.ErrDenied, "there is no password"},
		{"no password", strings.Replace(plain.URL(database), "postgres@", "bad_input@", 1), "s", gerritstream.ErrDenied,
			"there is no password in the address, in PGPASSWORD"},
		{"a password with /", as("bad_input", "pass/s3cret"), "s", gerritstream.ErrUnusable, "write %2F"},
		{"a password with @", as("bad_input", "pass@s3cret"), "s", gerritstream.ErrUnusable, "write %40"},
		{"unknown parameter", plain.URL(database) + "&ssl_mode=s3cretive", "s", gerritstream.ErrUnusable,
			"does not take a parameter of the address"},
		{"a time that is none", plain.URL(database) + "&connect_timeout=soon", "s", gerritstream.ErrUnusable,
			"invalid connect_timeout"},
		{"unknown kind of server", plain.URL(database) + "&target_session_attrs=first", "s", gerritstream.ErrUnusable,
			"unknown target_session_attrs value: first"},
		{"unknown sslmode", tls("verify_full", certificates.OtherCA), "s", gerritstream.ErrUnusable, "or verify-full"},
		{"no certificate in the file of authorities", tls("verify-full", "/dev/null"), "s", gerritstream.ErrUnusable,
			"sslrootcert names has no certificate"},
		{"unknown database", plain.URL("nowhere"), "s", gerritstream.ErrUnusable, "no such database"},
		{"no privilege to make a schema", as("bad_input", "s3cret"), "s", gerritstream.ErrDenied,
			"there is no such schema, and the role may not make one"},
		{"no privilege to make tables", as("bad_input_reader", "s3cret"), "empty", gerritstream.ErrDenied,
			"the schema has no tables yet, and the role may not make them"},
		{"no privilege on the schema", as("bad_input", "s3cret"), "theirs", gerritstream.ErrDenied, "lacks a privilege"},
		{"may only read", as("bad_input_reader", "s3cret"), "theirs", gerritstream.ErrDenied,
			"run the statements of store grants --writer bad_input_reader"},
		{"TLS is refused", strings.Replace(plain.URL("postgres"), "sslmode=disable", "sslmode=require", 1), "s",
			gerritstream.ErrUnusable, "does not use TLS"},
		{"another authority", tls("verify-full", certificates.OtherCA), "s", gerritstream.ErrUnusable, "is not trusted"},
		{"TLS is needed", peers.PostgreSQLURL("postgres", "disable", secure.Addr()), "s", gerritstream.ErrDenied,
			"wants TLS"},
		{"standby", plain.URL(standby), "s", gerritstream.ErrUnusable, "read-only"},
		{"another program's tables", plain.URL(database), "other", gerritstream.ErrUnusable, "another program's tables"},
		{"another program's table of the same name", plain.URL(database), "marked", gerritstream.ErrUnusable,
			"another program's tables"},
		{"newer schema", plain.URL(database), "newer", gerritstream.ErrNewerFormat, "run the newer version"},
		{"SQL_ASCII", plain.URL(ascii), "s", gerritstream.ErrUnusable, "encoding is SQL_ASCII"},
		{"statements are pooled", pooler.URL(peers.InStatementMode), "s", gerritstream.ErrUnusable, "set its pool_mode"},
		{"a parameter that the pooler does not take", pooler.URL(database) + "&statement_timeout=1", "s",
			gerritstream.ErrUnusable, "does not take a parameter"},
		{"a server before 13", peers.PostgreSQLURL(database, "disable", old.Addr()), "s", gerritstream.ErrUnusable,
			"the server is PostgreSQL 12: version 13 or later is needed"},
		{"no URL", "postgres://user:s3cret@host:port/", "s", gerritstream.ErrUnusable, "URL cannot be used"},
		{"no such file of authorities", tls("verify-full", "/nowhere"), "s", gerritstream.ErrUnusable, "/nowhere"},
		{"no schema", plain.URL(database), "", gerritstream.ErrUnusable, "schema"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openAt(tt.url, tt.schema)
			if err == nil {
				t.Fatal("opened")
			}
			text := err.Error()
			if !errors.Is(err, tt.kind) || !strings.Contains(text, tt.says) {
				t.Errorf("%v\nis not %q with %q", err, tt.kind, tt.says)
			}
			if strings.ContainsAny(text, "\n\t") || strings.Contains(text, "s3cret") || len(text) > 500 {
				t.Errorf("it is not one line without a password: %s", text)
			}
		})
	}
	if n := plain.SQL(t, database, `SELECT count(*) FROM pg_namespace WHERE nspname = 's'`); strings.TrimSpace(n) != "0" {
		t.Error("a schema was made")
	}
}

// openAt opens a store, and closes it.
func openAt(url, schema string) (*postgres.Store, error) {
	store, err := postgres.Open(context.Background(), postgres.Config{URL: url, Schema: schema})
	if err != nil {
		return nil, err
	}
	return store, store.Close(context.Background())
}

// A server that cannot be reached is no fault of the configuration. Why is said
// once, although it is tried with TLS and without.
func TestServerThatIsAway(t *testing.T) {
	_, err := openAt("postgres://someone:s3cret@127.0.0.1:1/db", "s")
	if err == nil || strings.Count(err.Error(), "refused") != 1 ||
		errors.Is(err, gerritstream.ErrUnusable) || errors.Is(err, gerritstream.ErrDenied) ||
		strings.ContainsAny(err.Error(), "\n\t") || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

// The password may come from a function, which is called for each connection.
func TestPasswordFunction(t *testing.T) {
	t.Parallel()
	server := peers.SharedPostgreSQL(t)
	server.SQL(t, "postgres", `CREATE ROLE password_function LOGIN PASSWORD 'of the day'`)
	database := server.Database(t)
	server.SQL(t, "postgres", `GRANT CREATE ON DATABASE `+database+` TO password_function`)
	config := postgres.Config{
		URL: strings.Replace(server.URL(database), "postgres@", "password_function@", 1), Schema: "s",
		Password: func(context.Context) (string, error) { return "of the day", nil },
	}
	store, err := postgres.Open(within(t), config)
	must(t, err)
	elect(t, store, shardA)
	must(t, store.Close(within(t)))
	config.Password = func(context.Context) (string, error) { return "", errors.New("the command failed") }
	if _, err := postgres.Open(within(t), config); !errors.Is(err, gerritstream.ErrDenied) ||
		!strings.Contains(err.Error(), "the command failed") {
		t.Error(err)
	}
}

// Once a process runs, a password that is not to be had, or that the server
// does not take any more, ends nothing: the process goes on as soon as there is
// one that works.
func TestRunningProcessWaitsForItsPassword(t *testing.T) {
	t.Parallel()
	server := peers.SharedPostgreSQL(t)
	server.SQL(t, "postgres", `CREATE ROLE password_rotated LOGIN PASSWORD 'first'`)
	database := server.Database(t)
	server.SQL(t, "postgres", `GRANT CREATE ON DATABASE `+database+` TO password_rotated`)
	var password atomic.Pointer[string] // nil: not to be had
	set := func(p string) { password.Store(&p) }
	set("first")
	// Of two servers one is away: the library has a line for each.
	url := peers.PostgreSQLURL(database, "disable", "127.0.0.1:1", server.Addr())
	store, err := postgres.Open(within(t), postgres.Config{
		URL:    strings.Replace(url, "postgres@", "password_rotated@", 1),
		Schema: "s", LeaseTTL: time.Minute,
		Password: func(context.Context) (string, error) {
			if p := password.Load(); p != nil {
				return *p, nil
			}
			return "", fmt.Errorf("%w: the command failed", gerritstream.ErrDenied)
		},
	})
	must(t, err)
	defer func() { must(t, store.Close(within(t))) }()
	term := elect(t, store, shardA)
	disconnect := func() {
		server.SQL(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'password_rotated'`)
	}
	for i, fault := range []func(){
		func() { password.Store(nil) },
		func() { server.SQL(t, "postgres", `ALTER ROLE password_rotated PASSWORD 'second'`) },
	} {
		fault()
		disconnect()
		name := strconv.Itoa(i + 1)
		shard, seq := gerritstream.ShardID("other"+name), gerritstream.SequenceNumber(name)
		ended := make(chan error, 2)
		go func() {
			_, err := store.Campaign(within(t), 0, shard)
			ended <- err
		}()
		go func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			err := gerritstream.ErrRetryLater
			for ctx := within(t); errors.Is(err, gerritstream.ErrRetryLater) && ctx.Err() == nil; <-tick.C {
				err = term.Commit(ctx, commitOf(seq, entry(shardA, seq, 10)))
			}
			ended <- err
		}()
		select {
		case err := <-ended:
			t.Fatalf("a call ended: %v", err)
		case <-time.After(300 * time.Millisecond): // each has tried by then
		}
		if _, err := store.Positions(within(t), 0); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("it is not said in one line what is wrong: %v", err)
		}
		set([]string{"first", "second"}[i])
		must(t, <-ended)
		must(t, <-ended)
	}
}

// Processes that come first together make the schema once.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	var opening sync.WaitGroup
	for range 8 {
		opening.Go(func() {
			if _, err := openAt(s.url, s.schema); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
}

// A password file may be written while a process runs.
func TestPasswordFileIsReadAgain(t *testing.T) {
	t.Parallel()
	server := peers.SharedPostgreSQL(t)
	server.SQL(t, "postgres", `CREATE ROLE password_file LOGIN PASSWORD 'first'`)
	database := server.Database(t)
	server.SQL(t, "postgres", `GRANT CREATE ON DATABASE `+database+` TO password_file`)
	file := filepath.Join(t.TempDir(), "pgpass")
	write := func(password string) { must(t, os.WriteFile(file, []byte("*:*:*:*:"+password+"\n"), 0o600)) }
	write("first")
	url := strings.Replace(server.URL(database), "postgres@", "password_file@", 1)
	store, err := postgres.Open(within(t), postgres.Config{URL: url + "&passfile=" + file, Schema: "s"})
	must(t, err)
	defer func() { must(t, store.Close(within(t))) }()
	write("second")
	server.SQL(t, "postgres", `ALTER ROLE password_file PASSWORD 'second';
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'password_file'`)
	must(t, elect(t, store, shardA).Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
}
