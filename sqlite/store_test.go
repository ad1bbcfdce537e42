package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// Each fault of a file is reported in one line with what is wrong and what to
// do.
func TestOpenFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		make  func(t *testing.T, path string)
		is    error
		texts []string
	}{
		"folder": {
			make:  func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) },
			texts: []string{"folder", "name a file in it"},
		},
		"text": {
			make: func(t *testing.T, path string) {
				must(t, os.WriteFile(path, bytes.Repeat([]byte("hello\n"), 1000), 0o600))
			},
			texts: []string{"damaged or not a database", "restore a backup"},
		},
		"another program's database": {
			make:  func(t *testing.T, path string) { execIn(t, path, `CREATE TABLE t (a)`) },
			texts: []string{"another program's", "choose another file"},
		},
		"another application's id": {
			make:  func(t *testing.T, path string) { execIn(t, path, `PRAGMA application_id = 12345`) },
			texts: []string{"another program's", "choose another file"},
		},
		"newer schema": {
			make:  func(t *testing.T, path string) { makeStore(t, path); execIn(t, path, `PRAGMA user_version = 1000`) },
			is:    gerritstream.ErrNewerFormat,
			texts: []string{"schema version 1000", "run the newer version"},
		},
		"damaged header": {
			make:  func(t *testing.T, path string) { makeStore(t, path); overwrite(t, path, 0, 50) },
			texts: []string{"damaged or not a database"},
		},
		"damaged schema": {
			make:  func(t *testing.T, path string) { makeStore(t, path); overwrite(t, path, 100, 2000) },
			texts: []string{"damaged or not a database"},
		},
		"file for a folder": {
			make:  func(t *testing.T, path string) { must(t, os.WriteFile(filepath.Dir(path), nil, 0o600)) },
			texts: []string{"folder"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "folder", "store.db")
			if name != "file for a folder" {
				must(t, os.Mkdir(filepath.Dir(path), 0o700))
			}
			tc.make(t, path)
			store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			if err == nil {
				t.Fatal(store.Close(t.Context()), "opened")
			}
			for _, want := range append(tc.texts, path) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than a line", err)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%q is not %q", err, tc.is)
			}
		})
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func makeStore(t *testing.T, path string) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	must(t, err)
	must(t, store.Close(t.Context()))
}

func execIn(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.ExecContext(t.Context(), statement)
	must(t, err)
	must(t, db.Close())
}

func overwrite(t *testing.T, path string, offset int64, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, n), offset)
	must(t, err)
	must(t, f.Close())
}

// Damage that Open does not see is reported in the same line by the calls that
// meet it.
func TestDamageFoundLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	makeStore(t, path)
	db, err := sql.Open("sqlite", path)
	must(t, err)
	for _, table := range []string{"leases", "positions", "processes"} { // the schema stays readable
		var page int64
		must(t, db.QueryRowContext(t.Context(), `SELECT rootpage FROM sqlite_schema WHERE name = ?`, table).Scan(&page))
		overwrite(t, path, (page-1)*8192, 8192)
	}
	must(t, db.Close())
	store := openWith(t, sqlite.Config{Path: path})
	_, err = store.Campaign(t.Context(), 0, shardA)
	if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), path) {
		t.Errorf("campaign returned %v", err)
	}
	if _, err := store.Positions(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("positions returned %v", err)
	}
	t.Cleanup(func() { _ = store.Close(context.Background()) }) // it cannot resign there
	store.Kill()
	must(t, store.Reap())
}

// Only the owner has access to the file and what SQLite puts beside it.
func TestModes(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "folder")
	path := filepath.Join(folder, "odd name ? % #.db")
	store := openWith(t, sqlite.Config{Path: path})
	must(t, elect(t, store, shardA).Commit(t.Context(), commitOf("1")))
	for p, want := range map[string]os.FileMode{
		folder: 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600,
	} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", p, info.Mode(), err, want)
		}
	}
}

func TestWideModeIsWarnedAbout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	makeStore(t, path)
	must(t, os.Chmod(path, 0o644)) //nolint:gosec // to be warned about
	var log bytes.Buffer
	warnings := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	openWith(t, sqlite.Config{Path: path, Logger: warnings})
	if got := log.String(); !strings.Contains(got, "other users have access") || !strings.Contains(got, path) {
		t.Errorf("the log says %q", got)
	}
}

// A new file that many open at once is made once.
func TestOpenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			if errs[i] = err; err == nil {
				errs[i] = store.Close(t.Context())
			}
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
}

func TestConfigFaultsAllAtOnce(t *testing.T) {
	_, err := sqlite.Open(t.Context(), sqlite.Config{LeaseTTL: 1})
	if err == nil || !strings.Contains(err.Error(), "no path") || !strings.Contains(err.Error(), "lease TTL") {
		t.Errorf("open returned %v", err)
	}
}

// A commit that returned nil is on the disk. These settings promise that; a
// test that kills processes cannot show it.
func TestDurable(t *testing.T) {
	store := openWith(t, sqlite.Config{Path: filepath.Join(t.TempDir(), "store.db")})
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "page_size": "8192"} {
		if got, err := store.Pragma(name); err != nil || got != want {
			t.Errorf("PRAGMA %s is %q (%v), want %q", name, got, err, want)
		}
	}
}
