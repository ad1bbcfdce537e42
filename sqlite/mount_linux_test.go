package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// A file that is mounted without its folder is refused: the files that SQLite
// keeps beside it would lie elsewhere.
func TestMountedByItself(t *testing.T) {
	path := inFolder(t)
	makeStore(t, path)
	inNamespace(t, "mounted by itself", path)
}

func init() { roles["mounted by itself"] = mountedByItself }

func mountedByItself(path string) error {
	at := filepath.Join(filepath.Dir(path), "mounted.db")
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		return err
	}
	if err := bindMount(path, at); err != nil {
		return err
	}
	_, err := sqlite.Open(context.Background(), sqlite.Config{Path: at})
	if err := wantError(err, nil, "mount its folder"); err != nil {
		return err
	}
	_, err = sqlite.OpenOperator(context.Background(), at)
	return wantError(err, nil, "mount its folder")
}

// inNamespace plays a role in a mount namespace of its own.
func inNamespace(t *testing.T, role, path string) {
	t.Helper()
	cmd := play(t, role, path)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no namespace to mount in: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	must(t, cmd.Wait())
}

// bindMount shows a file in a second place.
func bindMount(path, at string) error { return unix.Mount(path, at, "", unix.MS_BIND, "") }

// On a full disk a commit returns ErrRetryLater, and a stop is clean and quick.
func TestStopOnAFullDisk(t *testing.T) {
	inNamespace(t, "full disk", inFolder(t))
}

func init() { roles["full disk"] = fullDisk }

func fullDisk(path string) error {
	folder := filepath.Dir(path)
	if err := unix.Mount("none", folder, "tmpfs", 0, "size=1m"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	store, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return err
	}
	term, err := store.Campaign(ctx, 0, shardA)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "rest"), make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk is not full: %w", err)
	}
	err = term.Commit(ctx, commitOf("1", entry(shardA, "1", 100_000)))
	if !errors.Is(err, gerritstream.ErrRetryLater) {
		return fmt.Errorf("the commit returned %w", err)
	}
	began := time.Now()
	if err := store.Close(ctx); err != nil {
		return err
	}
	if took := time.Since(began); took > 4*time.Second {
		return fmt.Errorf("the stop took %v", took)
	}
	return nil
}
