package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

const pgBouncerCommand = "/usr/sbin/pgbouncer"

// PgBouncer is Debian's PgBouncer.
var PgBouncer = Component{"PgBouncer", apt + "pgbouncer", missingFile(pgBouncerCommand)}

// InStatementMode is a name that leads through PgBouncer to the database
// postgres, and gives each statement another session.
const InStatementMode = "in_statement_mode"

// PgBouncerServer is a running PgBouncer. Its methods are for one goroutine at
// a time.
type PgBouncerServer struct {
	folder string
	ports  *ports
	child  *child
}

// StartPgBouncer starts Debian's PgBouncer before a PostgreSQL server without
// TLS, on a free loopback port. It pools transactions: what a session sets is
// lost with each. Only the role postgres may use it. It ends with the test, and
// a failed test shows the end of its log. It needs [PgBouncer].
func StartPgBouncer(tb testing.TB, target string) *PgBouncerServer {
	tb.Helper()
	Require(tb, PgBouncer)
	p, err := newPgBouncer(target)
	if err != nil {
		tb.Fatalf("start PgBouncer: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("PgBouncer, the end of its log:\n%s", tail(p.log()))
		}
		p.release()
	})
	if err := p.start(tb.Context()); err != nil {
		tb.Fatalf("start PgBouncer: %v", err)
	}
	return p
}

func newPgBouncer(target string) (*PgBouncerServer, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	ports, err := reservePorts(1)
	if err != nil {
		return nil, err
	}
	p := &PgBouncerServer{ports: ports}
	if p.folder, err = os.MkdirTemp("", "pgbouncer-*"); err != nil {
		p.release()
		return nil, err
	}
	users := filepath.Join(p.folder, "users")
	conf := fmt.Sprintf("[databases]\n"+
		InStatementMode+" = host=%[1]s port=%[2]s dbname=postgres pool_mode=statement\n"+
		"* = host=%[1]s port=%[2]s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %[3]d\n"+
		"unix_socket_dir =\nauth_type = trust\nauth_file = %[4]s\npool_mode = transaction\nmax_client_conn = 200\n"+
		"server_login_retry = 1\nserver_connect_timeout = 2\n", host, port, ports.numbers[0], users)
	if err := errors.Join(
		os.WriteFile(users, []byte("\"postgres\" \"\"\n"), 0o600),
		os.WriteFile(p.config(), []byte(conf), 0o600),
		giveAway(p.folder), giveAway(users), giveAway(p.config()),
	); err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

func (p *PgBouncerServer) config() string { return filepath.Join(p.folder, "pgbouncer.ini") }
func (p *PgBouncerServer) log() string    { return filepath.Join(p.folder, "log") }

// Addr returns where it listens: "127.0.0.1:PORT".
func (p *PgBouncerServer) Addr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.ports.numbers[0]))
}

// URL returns the address of a database through it, for the role postgres.
func (p *PgBouncerServer) URL(database string) string {
	return PostgreSQLURL(database, "disable", p.Addr())
}

// Restart kills it, with all connections, and starts it.
func (p *PgBouncerServer) Restart(tb testing.TB) {
	tb.Helper()
	p.child.kill()
	if err := p.start(tb.Context()); err != nil {
		tb.Fatalf("start PgBouncer: %v", err)
	}
}

// start returns once it listens.
func (p *PgBouncerServer) start(ctx context.Context) error {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), pgBouncerCommand, p.config())
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.folder, log, log
	runUnprivileged(cmd)
	if p.child, err = startChild(cmd, p.folder); err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: startTimeout}
	for deadline := time.Now().Add(startTimeout); ; {
		conn, err := dialer.DialContext(ctx, "tcp", p.Addr())
		if err == nil {
			return conn.Close()
		}
		if p.child.ended(poll) || time.Now().After(deadline) {
			return fmt.Errorf("%w: %s", err, tail(p.log()))
		}
	}
}

func (p *PgBouncerServer) release() {
	if p.child != nil {
		p.child.kill()
	}
	_ = os.RemoveAll(p.folder)
	p.ports.release()
}
