package sqlite

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// filesystemOf asks what a folder is on. It opens nothing.
func filesystemOf(folder string) (name string, f footing, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return "", solid, fmt.Errorf("look at the file system of %s: %w", folder, err)
	}
	name, f = judgeFilesystem(uint32(s.Type)) //nolint:gosec // the numbers have 32 bits; the field's width and sign vary
	return name, f, nil
}

// writable reports whether this process may make files in a folder. It opens nothing.
func writable(folder string) error { return unix.Access(folder, unix.W_OK|unix.X_OK) }
