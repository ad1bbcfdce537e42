//go:build !unix

package bench

import (
	"os"
	"time"
)

// endSignal: such a system has no signal that asks a process to end in order.
var endSignal = os.Kill

// processorTime is not known on this system.
func processorTime() time.Duration { return 0 }
