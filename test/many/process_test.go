package many

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// ticksASecond is in which unit Linux reports CPU time.
const ticksASecond = 100

// process is a running gerritstream and what the system says of it.
type process struct {
	*peers.Program
	key string // its access key
	log string // path of its log
}

// start runs `gerritstream ARGS` under an access key. A failed test shows the
// end of its log.
func start(t *testing.T, key string, args ...string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{key: key, log: filepath.Join(dir, "log")}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(p.log)
			t.Logf("log of %s:\n%s", key, b[max(0, len(b)-2<<10):])
		}
	})
	p.Program = peers.StartProgram(t, peers.ProgramOptions{
		Args: args, Home: dir, Stdout: log, Stderr: log, Env: []string{"AWS_ACCESS_KEY_ID=" + key},
	})
	return p
}

// stop ends the process as an operator does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if !p.Wait(patience) || p.State().ExitCode() != 0 {
		t.Fatalf("%s did not stop cleanly: %v", p.key, p.State())
	}
}

// usage is what a process has used so far; zero once it is gone.
type usage struct {
	cpu       time.Duration
	rss, peak int // bytes
}

// usage asks the system.
func (p *process) usage() (u usage) {
	if p.State() != nil {
		return usage{}
	}
	dir := fmt.Sprintf("/proc/%d/", p.Process.Pid)
	stat, _ := os.ReadFile(dir + "stat")
	if _, rest, found := bytes.Cut(stat, []byte(") ")); found {
		const utime, stime = 11, 12 // of the fields after the command's name
		fields := bytes.Fields(rest)
		for _, i := range []int{utime, stime} {
			ticks, _ := strconv.Atoi(string(fields[i]))
			u.cpu += time.Duration(ticks) * time.Second / ticksASecond
		}
	}
	status, _ := os.ReadFile(dir + "status")
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		kb, err := strconv.Atoi(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))))
		switch {
		case err != nil:
		case string(name) == "VmRSS":
			u.rss = kb << 10
		case string(name) == "VmHWM":
			u.peak = kb << 10
		}
	}
	return u
}
