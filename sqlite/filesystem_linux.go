package sqlite

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// filesystemOf asks what a file or a folder is on. It opens nothing.
func filesystemOf(path string) (name string, f footing, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return "", solid, fmt.Errorf("look at the file system of %s: %w", path, err)
	}
	name, f = judgeFilesystem(uint32(s.Type)) //nolint:gosec // the numbers have 32 bits; the field's width and sign vary
	return name, f, nil
}

// mounted reports whether a file is a mount of its own. A kernel before 5.8
// does not say; then it is none.
func mounted(file string) bool {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, file, 0, 0, &s)
	return err == nil && s.Attributes&s.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// writable reports whether this process may write to a file, or make files in a
// folder. It opens nothing.
func writable(path string) error { return unix.Access(path, unix.W_OK) }
