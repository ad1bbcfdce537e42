package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

func TestLoadPostgres(t *testing.T) {
	c, err := Load(Sources{
		File: write(t, `stream: s
connection: Review.example
store: postgresql://ci:pw@h1:5433,h2/events?sslmode=disable
retention: 3d
postgres: {password_command: "echo x", connections: 9}
`),
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Postgres()
	if err != nil {
		t.Fatal(err)
	}
	if p.URL != "postgres://ci:pw@h1:5433,h2/events?sslmode=disable" || p.Schema != "gerritstream_review_example" ||
		p.Connections != 9 || p.Retention.Hours() != 72 || p.Password == nil {
		t.Errorf("got %+v", p)
	}
	if got := c.Store.String(); got != "postgres://ci:xxxxx@h1:5433,h2/events?sslmode=disable" {
		t.Errorf("shown as %s", got)
	}
	named, err := Load(Sources{Environ: home, Flags: map[string][]string{
		"stream": {"s"}, "store": {"postgres:///events"}, "postgres-schema": {"events"},
	}})
	if p, failed := named.Postgres(); err != nil || failed != nil || p.Schema != "events" || p.Password != nil {
		t.Errorf("got %+v, %v, %v", p, err, failed)
	}
	if other, _ := Load(Sources{Environ: home, StoreOnly: true}); other.Store.Kind == nil {
		t.Error("no store")
	} else if _, err := other.Postgres(); err == nil {
		t.Error("a SQLite file is in PostgreSQL")
	}
}

// TestPostgresPasswordsAreNotShown, whatever is wrong with the address.
func TestPostgresPasswordsAreNotShown(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "no.pem")
	for _, address := range []string{
		"postgres://u:hunter2@h/db", "postgres://u:hun%74er2@h/db", "postgresql://u:hunter2@h1:1,h2:2/db",
		"postgres://u:hunter2@h:port/db", "postgres://u:hunter2@h:99999/db", "postgres://u:hunter2@h/db?sslmode=perhaps",
		"postgres://u:hunter2/x@h/db", "postgres://u:hunter2@x@h/db", "postgres://u:hunter2%zz@h/db",
		"postgres://u:a?hunter2@h/db", "postgres://u:a?b=hunter2@h/db", "postgres://u:hunter2#@h/db", "postgres://u:hunter2@[::1/db",
		"postgres://h/db?user=u&password=hunter2", "postgres://h/db?sslpassword=hunter2&sslmode=no",
		"postgres://u:hunter2@h/db?sslmode=verify-full&sslrootcert=" + missing,
		"postgres://h/db?connect_timeout=hunter&password=hunter2", "postgres://u:hunter2@h/db\x01",
		"host=h dbname=db user=u password=hunter2", "host=h password = 'a hunter2' dbname=db", "postgres://u:a@hunter2@h/db",
		"mysql://u:hunter2@h/db", "postgres:u:hunter2@h/db", "//u:hunter2@h/db",
	} {
		src := Sources{Environ: home, Flags: map[string][]string{"stream": {"s"}, "store": {address}}}
		c, err := Load(src)
		explained, _ := Explain(src)
		var logged strings.Builder
		slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "config", &c)
		shown := fmt.Sprint(err, explained, c.Store.String(), logged.String(), c.Notes)
		for _, secret := range []string{"hunter2", "hun%74er2"} {
			if strings.Contains(shown, secret) {
				t.Errorf("%q shows its password: %s", address, shown)
			}
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: more than a line: %v", address, err)
		}
	}
	if _, err := Load(Sources{Environ: home, Flags: map[string][]string{
		"stream": {"s"}, "store": {"postgres://u@h/db?sslmode=verify-full&sslrootcert=" + missing},
	}}); err == nil || !strings.Contains(err.Error(), "--store: store: ") {
		t.Errorf("a missing file: %v", err)
	}
}

// A password among the arguments of a process is no secret on its host.
func TestPasswordOnTheCommandLineIsDoubtful(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]int{
		"postgres://u:hunter2@h/db": 1, "postgres://h/db?user=u&password=hunter2": 1, "postgres://u@h/db": 0,
	} {
		flag, err := Load(Sources{Environ: home, Flags: map[string][]string{"stream": {"s"}, "store": {address}}})
		if got := flag.Doubts(); err != nil || len(got) != want || strings.Contains(fmt.Sprint(got), "hunter2") {
			t.Errorf("--store %s: %q, %v", address, got, err)
		}
		file, err := Load(Sources{Environ: home, File: write(t, "stream: s\nstore: "+address+"\n")})
		if got := file.Doubts(); err != nil || len(got) != 0 {
			t.Errorf("a file with %s: %q, %v", address, got, err)
		}
	}
}

func TestPostgresSettingsContradictOtherStores(t *testing.T) {
	t.Parallel()
	_, err := Load(Sources{Environ: home, Flags: map[string][]string{
		"stream": {"s"}, "postgres-schema": {"pg_x"}, "postgres-connections": {"3"}, "postgres-password-command": {"x"},
	}})
	if err == nil || strings.Count(err.Error(), "the setting is for postgres://") != 3 ||
		!strings.Contains(err.Error(), "PostgreSQL's own") {
		t.Errorf("got %v", err)
	}
}

func TestPasswordCommand(t *testing.T) {
	t.Parallel()
	runs := filepath.Join(t.TempDir(), "runs")
	p := &passwordCommand{text: "echo again >>" + runs + "; echo 'se cret'"}
	for range 3 {
		if got, err := p.password(t.Context()); got != "se cret" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if b, err := os.ReadFile(runs); string(b) != "again\n" || err != nil {
		t.Errorf("it ran %d times, %v", strings.Count(string(b), "again"), err)
	}
	for command, want := range map[string]string{
		"echo no credentials >&2; echo hunter2; exit 7": "exit status 7: no credentials",
		"true":                        "printed nothing",
		"echo hunter2; echo tomorrow": "more than one line",
	} {
		_, err := (&passwordCommand{text: command}).password(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, gerritstream.ErrDenied) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", command, err)
		}
	}
}

// A command that fails is not run again for each connection that is wanted, and
// one that does not end leaves nothing of it behind.
func TestPasswordCommandFails(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	failing := &passwordCommand{text: "echo again >>" + folder + "/runs; exit 1"}
	for range 3 {
		if _, err := failing.password(t.Context()); err == nil {
			t.Error("no error")
		}
	}
	if b, err := os.ReadFile(folder + "/runs"); string(b) != "again\n" || err != nil {
		t.Errorf("it ran %d times, %v", strings.Count(string(b), "again"), err)
	}
	alive := folder + "/alive"
	if err := syscall.Mkfifo(alive, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { // the pipe ends when the last process that has it does
		f, err := os.Open(alive)
		if err == nil {
			_, err = f.Read(make([]byte, 3))
			cancel()
			_, _ = io.Copy(io.Discard, f)
			_ = f.Close()
		}
		ended <- err
	}()
	hanging := &passwordCommand{text: "sh -c 'echo up; sleep 60' >" + alive + "; true"}
	if _, err := hanging.password(ctx); err == nil {
		t.Error("no error")
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("what the command began goes on")
	}
}
