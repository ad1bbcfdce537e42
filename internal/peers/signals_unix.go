//go:build unix

package peers

import (
	"os"
	"syscall"
)

// What freezes a process where it stands, what lets it go on, and what asks it to end.
var freezeSignal, thawSignal, endSignal os.Signal = syscall.SIGSTOP, syscall.SIGCONT, syscall.SIGTERM
