package api

import (
	"errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestSocketMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listen(t.Context(), path, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("%v, %v", info, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file stays: %v", err)
	}
}

// Nobody but its owner can connect before the group is set.
func TestSocketIsHiddenAtFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	config := net.ListenConfig{Control: hideSocket}
	l, err := config.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestSocketGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := listen(t.Context(), path, "no-such-group", 0); err == nil {
		t.Error("a group that is not there is taken")
	} else if _, ok := errors.AsType[user.UnknownGroupError](err); !ok {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to any group")
	}
	l, err := listen(t.Context(), path, "12345", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Sys().(*syscall.Stat_t).Gid != 12345 { //nolint:errcheck,forcetypeassert // of this system
		t.Errorf("%v, %v", info, err)
	}
}

// The socket of a process that is gone is replaced, and that of a live one, or
// another file, is not.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := listen(t.Context(), path, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = listen(t.Context(), path, "", 0)
	if err == nil || !strings.Contains(err.Error(), "another process answers on "+path) {
		t.Errorf("a second process gets %v", err)
	}
	began := time.Now()
	_, err = listen(t.Context(), path, "", 50*time.Millisecond)
	if err == nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("a second process gets %v after %v", err, time.Since(began))
	}
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = listen(t.Context(), path, "", 0); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("in place of a file: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("another's file was removed: %v", err)
	}
	_, err = listen(t.Context(), filepath.Join(t.TempDir(), "missing", "s"), "", 0)
	if err == nil || !strings.Contains(err.Error(), "there is no folder") {
		t.Errorf("without a folder: %v", err)
	}
}

// A process that was killed seems to answer for a moment.
func TestDyingProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dying, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dying.SetUnlinkOnClose(false)
	go func() {
		for range 2 {
			if c, err := dying.Accept(); err == nil {
				_ = c.Close()
			}
		}
		_ = dying.Close()
	}()
	l, err := listen(t.Context(), path, "", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// Of processes that start at once on a stale file, one gets the socket, and
// that one is reached.
func TestStaleSocketIsReplacedOnce(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "s")
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		_ = dead.Close()
		var mu sync.Mutex
		var got []*socket
		var starting sync.WaitGroup
		for range 4 {
			starting.Go(func() {
				if l, err := listen(t.Context(), path, "", 0); err == nil {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, l)
				}
			})
		}
		starting.Wait()
		if len(got) != 1 {
			t.Fatalf("%d processes have the socket", len(got))
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if err := got[0].Close(); err != nil {
			t.Error(err)
		}
	}
}
