package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// postgresqlFolder is where Debian keeps PostgreSQL's programs.
const postgresqlFolder = "/usr/lib/postgresql/15/bin/"

// PostgreSQL is Debian's PostgreSQL 15: its server, psql and pg_basebackup.
var PostgreSQL = Component{"PostgreSQL 15", apt + "postgresql-15", missingFile(postgresqlFolder + "postgres")}

// PostgreSQLOptions configures a server. The zero value is a plain one with
// databases in UTF-8.
type PostgreSQLOptions struct {
	// Encoding is that of new databases; "": UTF8. SQL_ASCII is another.
	Encoding string

	// TLS has clients on TCP use TLS, and refuses the others. The server shows
	// its certificate; the authority's is for the clients.
	TLS *Certificates

	// Settings are added to postgresql.conf: name and value.
	Settings map[string]string
}

// PostgreSQLServer is a PostgreSQL server of a test. It keeps its port and its
// data when it is stopped and started again. Its methods are for one goroutine
// at a time.
type PostgreSQLServer struct {
	folder string
	port   int
	opts   PostgreSQLOptions
	ports  *ports

	child  *child // nil: it does not run
	frozen []int  // the processes that stand still
}

// StartPostgreSQL starts Debian's PostgreSQL on a free loopback port and
// returns once it serves. It ends with the test, and a failed test shows the
// end of its log. It needs [PostgreSQL].
//
// The role postgres needs no password; others do. Nothing waits for the disk: a
// killed server loses nothing that was committed, because the system holds
// what it wrote. [PostgreSQLOptions].Settings may say fsync=on.
func StartPostgreSQL(tb testing.TB, opts PostgreSQLOptions) *PostgreSQLServer {
	tb.Helper()
	s := startPostgreSQL(tb, opts)
	tb.Cleanup(func() {
		s.showLog(tb)
		s.release()
	})
	return s
}

// sharedPostgreSQL is the server of SharedPostgreSQL. It ends with the process.
var sharedPostgreSQL = struct {
	mu     sync.Mutex // held while it starts
	server *PostgreSQLServer
}{}

// SharedPostgreSQL returns the plain server that all tests of this process
// share. The first test starts it; it ends with the process, however that
// ends. Tests must not stop it, and use a database of their own, which
// [PostgreSQLServer.Database] makes.
func SharedPostgreSQL(tb testing.TB) *PostgreSQLServer {
	tb.Helper()
	sharedPostgreSQL.mu.Lock()
	defer sharedPostgreSQL.mu.Unlock()
	if sharedPostgreSQL.server == nil {
		many := map[string]string{"max_connections": "400"} // tests run in parallel
		sharedPostgreSQL.server = startPostgreSQL(tb, PostgreSQLOptions{Settings: many})
	}
	s := sharedPostgreSQL.server
	tb.Cleanup(func() { s.showLog(tb) })
	return s
}

func startPostgreSQL(tb testing.TB, opts PostgreSQLOptions) *PostgreSQLServer {
	tb.Helper()
	Require(tb, PostgreSQL)
	s, err := newPostgreSQL(opts)
	if err == nil {
		if err = s.makeData(tb.Context()); err == nil {
			err = s.start(tb.Context())
		}
		if err != nil {
			s.showLog(tb)
			s.release()
		}
	}
	if err != nil {
		tb.Fatalf("start PostgreSQL: %v", err)
	}
	return s
}

// newPostgreSQL makes the server's folder. It belongs to no test, because a
// shared server outlives its test.
func newPostgreSQL(opts PostgreSQLOptions) (*PostgreSQLServer, error) {
	ports, err := reservePorts(1)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "postgresql-*")
	if err == nil {
		err = giveAway(folder)
	}
	if err != nil {
		ports.release()
		return nil, err
	}
	return &PostgreSQLServer{folder: folder, port: ports.numbers[0], opts: opts, ports: ports}, nil
}

// makeData makes the server's data.
func (s *PostgreSQLServer) makeData(ctx context.Context) error {
	if err := s.run(ctx, "initdb", "--pgdata="+s.data(), "--username=postgres", "--no-sync", "--no-instructions",
		"--encoding="+cmp.Or(s.opts.Encoding, "UTF8"), "--locale=C", "--auth=trust"); err != nil {
		return err
	}
	return s.configure()
}

// configure writes the server's configuration.
func (s *PostgreSQLServer) configure() error {
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(s.port), "unix_socket_directories": s.folder,
		"fsync": "off", "shared_buffers": "32MB", "wal_keep_size": "512MB", "jit": "off", "huge_pages": "off",
		"log_line_prefix": "%m [%p] %a ",
	}
	kind := "host"
	if c := s.opts.TLS; c != nil {
		kind = "hostssl"
		for _, file := range []struct{ name, from string }{
			{"server.crt", c.Server.Cert}, {"server.key", c.Server.Key}, {"ca.crt", c.CA},
		} {
			b, err := os.ReadFile(file.from)
			if err == nil {
				err = s.write(file.name, b)
			}
			if err != nil {
				return err
			}
		}
		settings["ssl"], settings["ssl_ca_file"] = "on", "ca.crt"
	}
	maps.Copy(settings, s.opts.Settings)
	var conf []byte
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		conf = fmt.Appendf(conf, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	hba := fmt.Appendf(nil, "local all all trust\nlocal replication all trust\n"+
		"host replication postgres 127.0.0.1/32 trust\n"+
		"%[1]s all postgres 127.0.0.1/32 trust\n%[1]s all all 127.0.0.1/32 scram-sha-256\n", kind)
	return errors.Join(s.write("postgresql.conf", conf), s.write("pg_hba.conf", hba))
}

// write writes a file of the server's data.
func (s *PostgreSQLServer) write(name string, b []byte) error {
	path := filepath.Join(s.data(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil { //nolint:gosec // in the folder of the test
		return err
	}
	return giveAway(path)
}

func (s *PostgreSQLServer) data() string { return filepath.Join(s.folder, "data") }
func (s *PostgreSQLServer) log() string  { return filepath.Join(s.folder, "log") }

// command returns one of PostgreSQL's programs, to be run by the system's user
// postgres if this process is root's, which the server refuses.
func (s *PostgreSQLServer) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, postgresqlFolder+name, args...)
	cmd.Dir = s.folder
	ours := func(v string) bool { return strings.HasPrefix(v, "PG") }
	cmd.Env = append(slices.DeleteFunc(os.Environ(), ours), "LC_ALL=C")
	runUnprivileged(cmd)
	return cmd
}

func (s *PostgreSQLServer) run(ctx context.Context, name string, args ...string) error {
	if out, err := s.command(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// Addr returns the server's address: "127.0.0.1:PORT".
func (s *PostgreSQLServer) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Socket returns the folder of the server's Unix socket, and its port.
func (s *PostgreSQLServer) Socket() (folder string, port int) { return s.folder, s.port }

// Log returns the end of the server's log.
func (s *PostgreSQLServer) Log() string { return string(tail(s.log())) }

// URL returns the address of a database for the role postgres, without TLS
// unless the server has it.
func (s *PostgreSQLServer) URL(database string) string {
	if s.opts.TLS != nil {
		return PostgreSQLURL(database, "verify-full&sslrootcert="+url.QueryEscape(s.opts.TLS.CA), s.Addr())
	}
	return PostgreSQLURL(database, "disable", s.Addr())
}

// PostgreSQLURL returns the address of a database at one of several servers or
// links, for the role postgres.
func PostgreSQLURL(database, sslmode string, addrs ...string) string {
	return "postgres://postgres@" + strings.Join(addrs, ",") + "/" + database + "?sslmode=" + sslmode
}

// Database makes an empty database for one test and returns its name. It is
// removed after the test.
func (s *PostgreSQLServer) Database(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("t_%08x", rand.Uint32())
	s.SQL(tb, "postgres", "CREATE DATABASE "+name)
	tb.Cleanup(func() { // what cannot be removed harms nobody
		if s.child != nil && s.frozen == nil {
			_, _ = s.sql(context.Background(), "postgres", "SET synchronous_commit = local;\n"+ // a standby may be gone
				"DROP DATABASE "+name+" WITH (FORCE)")
		}
	})
	return name
}

// SQL runs statements with psql as the role postgres and returns what they
// print: a line for each row, with | between columns. A statement that fails
// fails the test.
func (s *PostgreSQLServer) SQL(tb testing.TB, database, statements string) string {
	tb.Helper()
	out, err := s.sql(tb.Context(), database, statements)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// TrySQL is SQL for callers that have no test at hand.
func (s *PostgreSQLServer) TrySQL(database, statements string) (string, error) {
	return s.sql(context.Background(), database, statements)
}

// sqlTimeout bounds how long psql may take.
const sqlTimeout = time.Minute

func (s *PostgreSQLServer) sql(ctx context.Context, database, statements string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	cmd := s.command(ctx, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", s.folder, "-p", strconv.Itoa(s.port),
		"-U", "postgres", "-d", database, "-f", "-")
	cmd.Stdin = strings.NewReader(statements)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, out)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

func (s *PostgreSQLServer) showLog(tb testing.TB) {
	tb.Helper()
	if tb.Failed() {
		tb.Logf("PostgreSQL at %s, the end of its log:\n%s", s.Addr(), tail(s.log()))
	}
}

// release ends the server and removes its folder.
func (s *PostgreSQLServer) release() {
	s.kill()
	_ = os.RemoveAll(s.folder)
	s.ports.release()
}
