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
	"syscall"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// group is a group that users are put into for a test.
const group = 4711

// Users of the group read the queue and note what they have handled, whether or
// not processes have it open, and whatever the umask of the processes is. What
// a reader leaves beside the file does not stop them. Other users get nothing.
func TestGroupAccess(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be several users")
	}
	path := inFolder(t)
	must(t, os.Chown(filepath.Dir(path), nobody-1, group))
	must(t, os.Chmod(filepath.Dir(path), 0o770|os.ModeSetgid))
	as := func(user, of uint32, role string) error {
		cmd := play(t, role, path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user,
			Groups: []uint32{of}}}
		if out, err := cmd.CombinedOutput(); err != nil {
			return errors.Join(err, errors.New(string(bytes.TrimSpace(out))))
		}
		return nil
	}
	for range 2 {
		must(t, as(nobody-1, group, "owner of a group"))
		must(t, as(nobody, group, "member of a group"))
	}
	umask := syscall.Umask(0o077)
	store := openWith(t, sqlite.Config{Path: path, GroupAccess: true})
	syscall.Umask(umask)
	must(t, elect(t, store, shardB).Commit(t.Context(), commitOf("1")))
	must(t, as(nobody, group, "member of a group"))
	for _, role := range []string{"member of a group", "operator of a group"} {
		must(t, wantError(as(nobody, nobody, role), nil, "permission denied"))
		must(t, os.Chmod(filepath.Dir(path), 0o775|os.ModeSetgid)) //nolint:gosec // the file stays closed to others
		err := as(nobody, nobody, role)
		must(t, os.Chmod(filepath.Dir(path), 0o770|os.ModeSetgid))
		must(t, wantError(err, nil, "SQLite needs it even to read"))
		if strings.Contains(err.Error(), gerritstream.ErrRetryLater.Error()) {
			t.Errorf("a user who may not read is asked to try again: %v", err)
		}
	}
}

func init() {
	roles["owner of a group"] = commitOnce
	roles["member of a group"] = readAsMember
	roles["operator of a group"] = func(path string) error {
		o, err := sqlite.OpenOperator(context.Background(), path)
		if err != nil {
			return err
		}
		return o.Close(context.Background())
	}
}

// commitOnce queues an event in a process with a strict umask.
func commitOnce(path string) error {
	syscall.Umask(0o077)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := sqlite.Open(ctx, sqlite.Config{Path: path, GroupAccess: true, LeaseTTL: time.Second})
	if err != nil {
		return err
	}
	term, err := store.Campaign(ctx, 0, shardA)
	if err == nil {
		err = term.Commit(ctx, commitOf("1", entry(shardA, "1", 10)))
	}
	return errors.Join(err, store.Close(ctx))
}

// readAsMember reads the queue and notes its place, as a consumer does.
func readAsMember(path string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := sqlite.OpenReader(ctx, path)
	if err != nil {
		return err
	}
	n := 0
	for _, err := range r.Events(ctx, 0) {
		if err != nil {
			return errors.Join(err, r.Close(ctx))
		}
		n++
	}
	if err := r.Close(ctx); err != nil || n != 1 {
		return errors.Join(err, errors.New("the queue is not read"))
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `INSERT INTO consumers (name, n, at) VALUES ('member', 1, 0) ON CONFLICT DO UPDATE SET n = 1`)
	return errors.Join(err, db.Close())
}

// The folder and the files get the group's modes, even if they exist with
// stricter ones.
func TestGroupModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	path := filepath.Join(t.TempDir(), "folder", "store.db")
	check := func(folder, file os.FileMode) {
		t.Helper()
		for p, want := range map[string]os.FileMode{
			filepath.Dir(path): folder | os.ModeDir, path: file, path + "-wal": file, path + "-shm": file,
		} {
			if info, err := os.Stat(p); err != nil || info.Mode() != want {
				t.Errorf("%s: mode %v, %v, want %v", p, info.Mode(), err, want)
			}
		}
	}
	store := openWith(t, sqlite.Config{Path: path, GroupAccess: true})
	check(0o770|os.ModeSetgid, 0o660)
	must(t, store.Close(t.Context()))

	must(t, os.Chmod(path, 0o600))
	var log bytes.Buffer
	warnings := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store = openWith(t, sqlite.Config{Path: path, GroupAccess: true, Logger: warnings})
	check(0o770|os.ModeSetgid, 0o660)
	must(t, store.Close(t.Context()))
	if strings.Contains(log.String(), "other users have access") {
		t.Errorf("the configured access is warned about: %s", &log)
	}

	must(t, os.Chmod(filepath.Dir(path), 0o700)) //nolint:gosec // it is a folder
	openWith(t, sqlite.Config{Path: path, GroupAccess: true, Logger: warnings})
	text := log.String()
	if !strings.Contains(text, "group has no access to the database folder") || !strings.Contains(text, "mode=0700") {
		t.Errorf("no warning about a folder that is closed to the group: %s", &log)
	}
}
