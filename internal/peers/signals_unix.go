//go:build unix

package peers

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// What lets a frozen process go on, and what asks it to end.
var thawSignal, endSignal os.Signal = syscall.SIGCONT, syscall.SIGTERM

// freezeLimit is how long a process may take to stand still.
const freezeLimit = 10 * time.Second

// freeze stops a child where it stands, and returns when it does: a thread that
// runs on another processor goes on for a moment, in which it may well answer.
// Nobody else waits for the child meanwhile, and it is not frozen yet.
func freeze(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("send %s: %w", syscall.SIGSTOP, err)
	}
	for deadline := time.After(freezeLimit); ; {
		var status syscall.WaitStatus
		changed, err := syscall.Wait4(p.Pid, &status, syscall.WUNTRACED|syscall.WNOHANG, nil)
		switch {
		case err != nil:
			return fmt.Errorf("wait until it stands: %w", err)
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
