//go:build !linux

package main

import (
	"os"
	"syscall"
)

// commandAttributes: only Linux ends a command with a process that was killed.
func commandAttributes() *syscall.SysProcAttr { return nil }

// killCommand kills a command.
func killCommand(p *os.Process) error { return p.Kill() }
