//go:build unix

package bench

import (
	"os"
	"syscall"
	"time"
)

// endSignal asks a process to end in order.
var endSignal os.Signal = syscall.SIGTERM

// processorTime returns what this process has used so far, in user and system
// mode.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
