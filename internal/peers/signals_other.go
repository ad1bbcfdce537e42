//go:build !unix

package peers

import (
	"os"
	"os/exec"
)

// Elsewhere the only signal kills. Tests that need others need Debian anyway.
var thawSignal, endSignal, stopSignal = os.Kill, os.Kill, os.Kill

var shutdownSignals = map[Shutdown]os.Signal{Fast: os.Kill, Immediate: os.Kill}

func freeze(p *os.Process) error { return p.Kill() }

func signalProcess(int, os.Signal) {}

func runUnprivileged(*exec.Cmd) {}

func giveAway(string) error { return nil }
