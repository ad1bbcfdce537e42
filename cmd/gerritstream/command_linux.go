package main

import (
	"os"
	"syscall"
)

// commandAttributes give a command a process group of its own, which a
// terminal's Ctrl-C does not reach, and end it with this process, however that
// ends.
func commandAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killCommand kills a command and the processes of its group, which it has
// begun.
func killCommand(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
