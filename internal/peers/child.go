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

// child is a running process that cannot outlive this one: when this one ends,
// in whatever way, a guard kills the child and removes its folder. No goroutine
// belongs to a child.
type child struct {
	cmd   *exec.Cmd
	alive *os.File // at its end when the process is
	guard *exec.Cmd
	hold  io.Closer // the guard's input
}

// guardProgram waits for the end of its input, which ends with the process that
// started it. A child that is not simply killed has 10 s to end.
const guardProgram = `read -r _; kill "$3" "$1"; i=0
while [ "$3" != -9 ] && [ $i -lt 100 ] && kill -0 "$1" 2>/dev/null; do sleep 0.1; i=$((i+1)); done
kill -9 "$1" 2>/dev/null; [ -z "$2" ] || rm -rf -- "$2"`

// startChild runs a command, whose context must never end, with a guard that
// removes the folder unless it is "".
func startChild(cmd *exec.Cmd, folder string) (*child, error) {
	return startChildEnding(cmd, folder, "-9")
}

// startChildEnding is startChild with the signal, as kill has it, by which the
// guard ends the child: SIGKILL leaves behind what PostgreSQL shares.
func startChildEnding(cmd *exec.Cmd, folder, signal string) (*child, error) {
	alive, aliveIn, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, aliveIn)
	err = cmd.Start()
	_ = aliveIn.Close() // only the child has it
	if err != nil {
		_ = alive.Close()
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	c := &child{cmd: cmd, alive: alive}
	pid := strconv.Itoa(cmd.Process.Pid)
	guard := exec.CommandContext(context.Background(), "/bin/sh", "-c", guardProgram, "guard", pid, folder, signal)
	hold, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		c.kill()
		return nil, fmt.Errorf("start guard: %w", err)
	}
	c.guard, c.hold = guard, hold
	return c, nil
}

// ended reports whether the process ends within d.
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
	if c.guard != nil { // first, so that it never kills another process with the same id
		_ = c.guard.Process.Kill()
		_ = c.hold.Close()
		_ = c.guard.Wait()
	}
	_ = c.cmd.Process.Kill() // it may have ended by itself
	_ = c.cmd.Wait()         // "signal: killed" is what was asked for
	_ = c.alive.Close()
}

// wait waits for a process that is ending, and kills it only if it does not: a
// kill in its last moments would take the place of its exit code.
func (c *child) wait() (code int) {
	late := time.AfterFunc(startTimeout, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	_ = c.cmd.Wait() // the exit code says it
	code = c.cmd.ProcessState.ExitCode()
	c.kill() // its guard
	return code
}

// poll is the pause between two checks of what another process does.
const poll = 20 * time.Millisecond

// tail returns the end of a file, for a failed test to show.
func tail(path string) []byte {
	const most = 4 << 10
	b, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.ToValidUTF8(b[max(0, len(b)-most):], nil)
}
