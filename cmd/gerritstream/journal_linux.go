package main

import (
	"fmt"
	"syscall"
)

// fileID returns a file as systemd names it: "DEVICE:INODE"; "": it is none.
func fileID(fd uintptr) string {
	var s syscall.Stat_t
	if syscall.Fstat(int(fd), &s) != nil { //nolint:gosec // a descriptor is small
		return ""
	}
	return fmt.Sprintf("%d:%d", s.Dev, s.Ino)
}
