//go:build unix

package peers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// The signals that resume a frozen process and ask a process to end.
var thawSignal, endSignal os.Signal = syscall.SIGCONT, syscall.SIGTERM

// stopSignal stops a process where it stands.
var stopSignal os.Signal = syscall.SIGSTOP

// shutdownSignals are PostgreSQL's.
var shutdownSignals = map[Shutdown]os.Signal{Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}

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

// signalProcess sends a signal to a process, which may have ended.
func signalProcess(pid int, s os.Signal) {
	if number, ok := s.(syscall.Signal); ok {
		_ = syscall.Kill(pid, number)
	}
}

// unprivileged returns the ids of the system's user postgres, which Debian's
// package makes; nil unless this process is root's.
var unprivileged = sync.OnceValues(func() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nobody else is needed
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
})

// runUnprivileged has a command run by the user postgres if this process is
// root's: PostgreSQL refuses to run as root.
func runUnprivileged(cmd *exec.Cmd) {
	who, err := unprivileged()
	if err != nil {
		cmd.Err = err
	} else if who != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	}
}

// giveAway makes a file or a folder that user's.
func giveAway(path string) error {
	who, err := unprivileged()
	if who == nil || err != nil {
		return err
	}
	return os.Chown(path, int(who.Uid), int(who.Gid))
}
