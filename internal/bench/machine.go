package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine is where a bench ran. What the system does not tell is empty.
type Machine struct {
	System string `json:"system"` // "linux/amd64"
	Kernel string `json:"kernel,omitempty"`
	CPU    string `json:"cpu,omitempty"`
	Cores  int    `json:"cores"` // that this process may use
	Go     string `json:"go"`
	Load   string `json:"load,omitempty"` // the load averages when the bench began
}

// describeMachine looks at the machine.
func describeMachine() Machine {
	m := Machine{
		System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.GOMAXPROCS(0), Go: runtime.Version(),
		Kernel: firstLine("/proc/sys/kernel/osrelease"),
	}
	if fields := strings.Fields(firstLine("/proc/loadavg")); len(fields) > 3 {
		m.Load = strings.Join(fields[:3], " ")
	}
	raw, _ := os.ReadFile("/proc/cpuinfo") // only Linux has it
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

// firstLine returns the first line of a file; "": it cannot be read.
func firstLine(path string) string {
	raw, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(raw), "\n")
	return strings.TrimSpace(line)
}

// String describes the machine in one line.
func (m Machine) String() string {
	text := fmt.Sprintf("%d cores", m.Cores)
	if m.CPU != "" {
		text += " of " + m.CPU
	}
	text += ", " + m.System
	if m.Kernel != "" {
		text += " " + m.Kernel
	}
	text += ", " + m.Go
	if m.Load != "" {
		text += ", load " + m.Load
	}
	return text
}
