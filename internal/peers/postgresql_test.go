package peers_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// psql runs one statement at an address and returns what it prints.
func psql(t *testing.T, url, statement string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "psql", "-XAtq", "-d", url, "-c", statement).CombinedOutput()
	if err != nil {
		err = errors.New(string(out))
	}
	return strings.TrimSpace(string(out)), err
}

func TestPostgreSQLKeepsWhatItHasThroughKillAndStop(t *testing.T) {
	t.Parallel()
	tls := peers.MakeCertificates(t)
	s := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{TLS: tls})
	database := s.Database(t)
	s.SQL(t, database, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (0)")
	for n, end := range []func(){
		func() { s.Kill(t) },
		func() { s.Stop(t, peers.Immediate) },
		func() { s.Stop(t, peers.Fast) },
	} {
		end()
		if out, err := psql(t, s.URL(database), "SELECT 1"); err == nil {
			t.Fatalf("a stopped server answers %s", out)
		}
		s.Start(t)
		s.SQL(t, database, "INSERT INTO kept VALUES (1)")
		if got := s.SQL(t, database, "SELECT sum(n) FROM kept"); got != string(rune('1'+n)) {
			t.Errorf("after end %d: %s rows", n, got)
		}
	}
	if out, err := psql(t, s.URL(database), "SELECT sum(n) FROM kept"); out != "3" || err != nil {
		t.Errorf("over TLS: %s, %v", out, err)
	}
	for url, want := range map[string]string{
		peers.PostgreSQLURL(database, "verify-full&sslrootcert="+tls.OtherCA, s.Addr()): "certificate verify failed",
		peers.PostgreSQLURL(database, "disable", s.Addr()):                              "no pg_hba.conf entry",
	} {
		if out, err := psql(t, url, "SELECT 1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want %s", url, out, err, want)
		}
	}
}

func TestAFrozenPostgreSQLAnswersNothingUntilItThaws(t *testing.T) {
	t.Parallel()
	s := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	s.Freeze(t)
	done := make(chan error, 1)
	go func() {
		out, err := exec.CommandContext(t.Context(), "psql", "-XAtq", "-d", s.URL("postgres"), "-c", "SELECT 7").CombinedOutput()
		if !bytes.Equal(out, []byte("7\n")) {
			err = errors.Join(err, errors.New(string(out)))
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("frozen, it answers: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	s.Thaw(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStandbyIsPromoted: what a synchronous standby's primary has confirmed is
// in the standby; an asynchronous one lacks what did not reach it.
func TestStandbyIsPromoted(t *testing.T) {
	t.Parallel()
	first := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	second := peers.StartStandby(t, first, peers.StandbyOptions{Synchronous: true})
	first.SQL(t, "postgres", "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
	if _, err := psql(t, second.URL("postgres"), "INSERT INTO kept VALUES (0)"); err == nil {
		t.Error("a standby takes writes")
	}
	first.Kill(t)
	second.Promote(t)
	if got := second.SQL(t, "postgres", "INSERT INTO kept VALUES (2); SELECT sum(n) FROM kept"); got != "3" {
		t.Errorf("the synchronous standby has %s", got)
	}

	link := peers.NewLink(t, second.Addr())
	first.Follow(t, second, peers.StandbyOptions{Via: link.Addr()})
	link.Hold(peers.Both)
	second.SQL(t, "postgres", "INSERT INTO kept VALUES (4)")
	second.Kill(t)
	link.Drop()
	first.Promote(t)
	if got := first.SQL(t, "postgres", "SELECT sum(n) FROM kept"); got != "3" {
		t.Errorf("the asynchronous standby has %s", got)
	}
}

func TestPgBouncerPoolsTransactions(t *testing.T) {
	t.Parallel()
	s := peers.SharedPostgreSQL(t)
	p := peers.StartPgBouncer(t, s.Addr())
	database := s.Database(t)
	for range 2 {
		if out, err := psql(t, p.URL(database), "SELECT current_database()"); out != database || err != nil {
			t.Errorf("through PgBouncer: %s, %v", out, err)
		}
		p.Restart(t)
	}
}

// TestPostgreSQLLinkLosesWhatItIsAskedTo, with statements of the simple and of
// the extended protocol.
func TestPostgreSQLLinkLosesWhatItIsAskedTo(t *testing.T) {
	t.Parallel()
	s := peers.SharedPostgreSQL(t)
	database := s.Database(t)
	s.SQL(t, database, "CREATE TABLE kept (n int)")
	link := peers.NewPostgreSQLLink(t, s.Addr())
	for _, c := range []struct {
		name string
		lose func(func([]byte) bool) <-chan struct{}
		want string
	}{
		{"request", link.LoseNextRequest, "0"},
		{"reply", link.LoseNextReply, "1"},
	} {
		for _, mode := range []string{"simple", "extended"} {
			s.SQL(t, database, "TRUNCATE kept")
			lost := c.lose(func(request []byte) bool { return bytes.Contains(request, []byte("INSERT")) })
			out := pgbench(t, mode, peers.PostgreSQLURL(database, "disable", link.Addr()),
				"SELECT 1;\nINSERT INTO kept VALUES (1);\nINSERT INTO kept VALUES (2);\n")
			if !strings.Contains(out, "aborted") {
				t.Errorf("a client whose %s is lost, %s: %s", c.name, mode, out)
			}
			<-lost
			if got := s.SQL(t, database, "SELECT coalesce(sum(n), 0) FROM kept"); got != c.want {
				t.Errorf("a lost %s, %s, leaves %s, want %s", c.name, mode, got, c.want)
			}
		}
	}
	if out := pgbench(t, "extended", peers.PostgreSQLURL(database, "disable", link.Addr()), "SELECT 1;\n"); strings.Contains(out, "aborted") {
		t.Errorf("afterwards: %s", out)
	}
}

// pgbench runs a script once.
func pgbench(t *testing.T, mode, url, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.CommandContext(t.Context(), "pgbench", "-n", "-t", "1", "-M", mode, "-f", file, url).CombinedOutput()
	return string(out)
}
