package bench_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream/internal/bench"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// progress is told each line on progress.
type progress func(line string)

func (p progress) Write(b []byte) (int, error) {
	p(string(b))
	return len(b), nil
}

// A PostgreSQL that somebody uses is refused. A bench leaves nothing behind in
// one, also when it is interrupted, and what is not its own stays: a store, and
// what another bench has made, which it tells of. No process shows the
// password.
func TestOnPostgreSQLNothingIsLeft(t *testing.T) {
	t.Parallel()
	server := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	database := server.Database(t)
	server.SQL(t, database, `CREATE ROLE bench LOGIN PASSWORD 's3cret'; GRANT CREATE ON DATABASE `+database+` TO bench;
		CREATE SCHEMA gerritstream_gerrit; CREATE SCHEMA gerritstream_bench_abcdefgh_commit AUTHORIZATION bench`)
	url := strings.Replace(server.URL(database), "postgres@", "bench:s3cret@", 1)
	schemas := func() string { return server.SQL(t, database, `SELECT nspname FROM pg_namespace ORDER BY 1`) }
	before := schemas()
	check := func() {
		t.Helper()
		if now := schemas(); now != before {
			t.Errorf("the schemas were\n%s\nand are\n%s", before, now)
		}
	}

	other, err := pgx.Connect(t.Context(), server.URL("postgres")+"&application_name=payroll")
	if err != nil {
		t.Fatal(err)
	}
	_, err = bench.Run(t.Context(), brief(t, url, "commit"))
	fault, ok := errors.AsType[*daemon.ConfigError](err)
	if !ok || !strings.Contains(fault.Error(), "is in use: connections of payroll (1)") ||
		strings.Contains(fault.Error(), "s3cret") {
		t.Errorf("beside another program it ends with %v", err)
	}
	check()

	measured := []string{"commit", "queueing", "hand-over"}
	o := brief(t, url, measured...)
	o.Shared = true
	members := 0
	o.Progress = progress(func(line string) {
		if !strings.Contains(line, "1 of 1") { // a member runs
			return
		}
		processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, p := range processes {
			line, _ := os.ReadFile(p) // it may have ended
			if bytes.Contains(line, []byte("s3cret")) {
				t.Errorf("everybody sees the password: %q", line)
			}
			if bytes.Contains(line, []byte("--connection=bench_")) {
				members++
			}
		}
	})
	r, err := bench.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if members == 0 {
		t.Error("no member was seen")
	}
	for _, name := range measured {
		if f := figure(t, r, name); f.Ours <= 0 || f.Raw <= 0 || f.Ratio <= 0 {
			t.Errorf("%s lacks something: %+v", name, f)
		}
	}
	if said := strings.Join(r.Notes, "\n"); !strings.Contains(said, "DROP SCHEMA gerritstream_bench_abcdefgh_commit") {
		t.Errorf("nothing is said of what another bench has left: %q", said)
	}
	check()

	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	o = brief(t, url, "commit")
	o.Ceiling = time.Minute
	ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
	defer interrupt()
	var watching sync.WaitGroup
	watching.Go(func() { // until it has made both of its schemas
		defer interrupt()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for strings.Count(schemas(), "_bench_") < 3 && ctx.Err() == nil {
			<-tick.C
		}
	})
	if r, err = bench.Run(ctx, o); err != nil || !r.Interrupted {
		t.Errorf("an interrupted bench ends with %v", err)
	}
	watching.Wait()
	check()
}
