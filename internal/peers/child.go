package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// child is a running process that cannot outlive this one: a guard, a shell
// that waits for the end of its input, kills the process when this one is gone,
// however it went, and removes the process' folder. No goroutine belongs to a
// child.
type child struct {
	cmd   *exec.Cmd
	alive *os.File // at its end when the process is
	guard *exec.Cmd
	hold  io.Closer // the guard's input
}

// guardProgram does nothing before its input ends, which is when the process
// that started it ends.
const guardProgram = `read -r _; kill -9 "$1"; [ -z "$2" ] || rm -rf -- "$2"`

// startChild runs a command, which has no context of its own. When this process
// ends, the command is killed and the folder, unless it is "", removed.
func startChild(cmd *exec.Cmd, folder string) (*child, error) {
	alive, aliveIn, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	cmd.ExtraFiles = []*os.File{aliveIn}
	err = cmd.Start()
	_ = aliveIn.Close() // the child has its own, and nobody else
	if err != nil {
		_ = alive.Close()
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	c := &child{cmd: cmd, alive: alive}
	if err := c.startGuard(folder); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

func (c *child) startGuard(folder string) error {
	pid := strconv.Itoa(c.cmd.Process.Pid)
	guard := exec.CommandContext(context.Background(), "/bin/sh", "-c", guardProgram, "guard", pid, folder)
	hold, err := guard.StdinPipe()
	if err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	if err := guard.Start(); err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	c.guard, c.hold = guard, hold
	return nil
}

// ended waits for at most d and reports whether the process has ended.
func (c *child) ended(d time.Duration) bool {
	if err := c.alive.SetReadDeadline(time.Now().Add(d)); err != nil {
		return true
	}
	_, err := c.alive.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// signal sends a signal to the process.
func (c *child) signal(s os.Signal) error {
	if err := c.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s: %w", s, err)
	}
	return nil
}

// kill ends the process at once, frozen or not, and waits for it.
func (c *child) kill() {
	if c.guard != nil { // first, so that it never kills another process of the same id
		_ = c.guard.Process.Kill()
		_ = c.hold.Close()
		_ = c.guard.Wait()
	}
	_ = c.cmd.Process.Kill() // it may have ended by itself
	_ = c.cmd.Wait()         // "signal: killed" is what was asked for
	_ = c.alive.Close()
}

// poll is the pause between two looks at what another process does.
const poll = 20 * time.Millisecond

// logTail is how much of a log a failed test shows.
const logTail = 4 << 10

func tail(path string) []byte {
	b, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.ToValidUTF8(b[max(0, len(b)-logTail):], nil)
}
