//go:build installed

// Package installed tests what the packages install, on a machine of its own
// that systemd has booted: make operator, make release-check.
package installed

import (
	"bytes"
	"context"
	_ "embed" // testdata
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// patience is how long something quick may take on a busy machine.
const patience = 60 * time.Second

// scratch is where the package is made.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "gerritstream-installed-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// release is the folder of what a release has for this platform, which the
// tests share.
var release = sync.OnceValues(func() (string, error) {
	folder := filepath.Join(scratch, "dist")
	cmd := exec.CommandContext(context.Background(), "go", "run", ".", "-root", "..", "-out", folder,
		"-platform", "linux/"+runtime.GOARCH)
	cmd.Dir = filepath.Join("..", "..", "..", "release")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make the release: %w\n%s", err, out)
	}
	return folder, nil
})

// made returns the path of the package in a format: "deb" or "rpm".
func made(t *testing.T, format string) string {
	t.Helper()
	folder, err := release()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(folder, "*."+format))
	if err != nil || len(found) != 1 {
		t.Fatalf("the release has the packages %q (%v)", found, err)
	}
	return found[0]
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// bootScript makes a machine that is a copy of this one, and boots it.
//
//go:embed testdata/boot.sh
var bootScript string

// machine is a copy of this machine in namespaces: its files are this
// machine's until one is changed, its network is loopback, and its first
// process is systemd.
type machine struct {
	inner string // id of its first process
	log   string
}

// boot boots a machine. The test's end kills it and all that runs in it.
func boot(t *testing.T) *machine {
	t.Helper()
	peers.Require(t, peers.Systemd)
	if os.Geteuid() != 0 {
		t.Skip("a machine of its own needs root")
	}
	folder := t.TempDir()
	m := &machine{log: filepath.Join(folder, "log")}
	f, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	group := fmt.Sprintf("gerritstream-installed-%d", os.Getpid())
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "unshare", "--mount", "--pid", "--uts", "--net",
		"--fork", "--kill-child", "sh", "-c", bootScript, "sh", folder, group)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(m.log)
			journal, err := m.try("journalctl --no-pager --unit 'gerritstream*' --lines 30")
			t.Logf("machine:\n%s\n%s (%v)", log, journal, err)
		}
		_, _ = cmd.Process.Kill(), cmd.Wait()
		eventually(t, "the machine's control groups are gone", func() bool {
			out, err := exec.CommandContext(context.Background(), "unshare", "--mount", "sh", "-c",
				`mount -t cgroup2 none "$1" && { [ ! -e "$1/$2" ] || find "$1/$2" -depth -type d -exec rmdir {} +; }`,
				"sh", t.TempDir(), group).CombinedOutput()
			return err == nil && len(out) == 0
		})
	})
	eventually(t, "the machine has booted", func() bool {
		children := fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid)
		inner, err := os.ReadFile(children)
		if err != nil {
			t.Fatal(err)
		}
		if m.inner = strings.TrimSpace(string(inner)); m.inner == "" {
			return false
		}
		out, err := m.try("systemctl is-active trial.target")
		return err == nil && out == "active"
	})
	m.do(t, "systemctl start dbus") // as everywhere; systemd-run --pipe needs it
	return m
}

// try runs a line of a shell on the machine, as root who has logged in.
func (m *machine) try(line string, args ...string) (string, error) { return m.feed(nil, line, args...) }

// feed runs a line of a shell on the machine with an input. It sees args as $1
// and so on.
func (m *machine) feed(input io.Reader, line string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", m.inner, "--mount", "--pid", "--net", "--root", "--wd", "env", "-i", "--chdir=/root", "HOME=/root",
		"USER=root", "LANG=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_PAGER=cat",
		"DEBIAN_FRONTEND=noninteractive", "sh", "-ec", line, "sh",
	}, args...)...)
	cmd.Stdin = input
	out, err := cmd.CombinedOutput()
	return strings.TrimRight(string(out), "\n"), err
}

// do runs a line of a shell on the machine, which must succeed, and returns
// its output.
func (m *machine) do(t *testing.T, line string, args ...string) string {
	t.Helper()
	out, err := m.try(line, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

// write writes a file of the machine. Of a new one only root gets access.
func (m *machine) write(t *testing.T, path string, data []byte) {
	t.Helper()
	m.writeMode(t, path, "600", data)
}

// writeMode writes a file of the machine. A new one gets the mode.
func (m *machine) writeMode(t *testing.T, path, mode string, data []byte) {
	t.Helper()
	const line = `mkdir -p "$(dirname "$1")"; [ -e "$1" ] || install -m "$2" /dev/null "$1"; cat >"$1"`
	if out, err := m.feed(bytes.NewReader(data), line, path, mode); err != nil {
		t.Fatalf("write %s: %v\n%s", path, err, out)
	}
}

// show returns a property of a unit.
func (m *machine) show(t *testing.T, unit, property string) string {
	t.Helper()
	return m.do(t, `systemctl show --value --property="$2" "$1"`, unit, property)
}
