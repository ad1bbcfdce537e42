package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gerritstream/gerritstream/sqlite"
)

// A file that is mounted without its folder is refused: what SQLite keeps beside it would lie elsewhere.
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

// inNamespace plays a role where it may mount what it likes, and nobody else sees that.
func inNamespace(t *testing.T, role, path string) {
	t.Helper()
	cmd := play(t, role, path)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no namespace to mount in: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	must(t, cmd.Wait())
}

// bindMount shows a file in a second place.
func bindMount(path, at string) error { return unix.Mount(path, at, "", unix.MS_BIND, "") }
