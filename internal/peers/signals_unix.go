//go:build unix

package peers

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// The signals that resume a frozen process and ask a process to end.
var thawSignal, endSignal os.Signal = syscall.SIGCONT, syscall.SIGTERM

// freezeLimit is how long a process may take to stand still.
const freezeLimit = 10 * time.Second

// freeze stops a child, which is not frozen, and waits until it has stopped: a
// thread on another processor continues for a moment, and may even answer.
// Nobody else may wait for the child meanwhile.
func freeze(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("send %s: %w", syscall.SIGSTOP, err)
	}
	for deadline := time.After(freezeLimit); ; {
		var status syscall.WaitStatus
		changed, err := syscall.Wait4(p.Pid, &status, syscall.WUNTRACED|syscall.WNOHANG, nil)
		switch {
		case err != nil:
			return fmt.Errorf("wait until it stops: %w", err)
		case changed == 0:
		case status.Stopped():
			return nil
		default:
			return errors.New("it ended instead")
		}
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			return fmt.Errorf("it still runs after %v", freezeLimit)
		}
	}
}
