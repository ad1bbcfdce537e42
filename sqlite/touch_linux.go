package sqlite

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// touch sets the times of a file. It opens nothing, and may be done by anybody
// who may write to the file.
func touch(path string) error {
	now := unix.Timespec{Nsec: unix.UTIME_NOW}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{now, now}, 0); err != nil {
		return fmt.Errorf("set the times of %s: %w", path, err)
	}
	return nil
}

// watchTouches returns what can be read from whenever the file is touched, but
// not when it is written to. It does not open the file.
func watchTouches(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	touches := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_ATTRIB); err != nil {
		_ = touches.Close()
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	return touches, nil
}
