//go:build !linux

package sqlite

// filesystemOf knows file systems on Linux only.
func filesystemOf(string) (name string, kind fsKind, err error) { return "", disk, nil }

// mounted knows mounts on Linux only.
func mounted(string) bool { return false }

// writable leaves it to SQLite to find out.
func writable(string) error { return nil }
