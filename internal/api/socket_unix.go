//go:build unix

package api

import (
	"fmt"
	"os"
	"syscall"
)

// lockFolder keeps other processes from making a socket in a folder, until
// unlock is called or the process ends. It leaves no file behind.
func lockFolder(folder string) (unlock func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close() // opened only to lock it
		return nil, fmt.Errorf("lock %s: %w", folder, err)
	}
	return func() { _ = f.Close() }, nil // which unlocks it
}

// hideSocket keeps everybody else from connecting until the group is set: on
// Linux a socket's file gets the mode that the socket had before.
func hideSocket(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.Fchmod(int(fd), 0o600) // elsewhere there is no such thing
	})
}
