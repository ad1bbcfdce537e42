package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A user manager needs a system that systemd has booted, and a control group of
// its own. Namespaces pretend both: the manager's processes see a /run and a
// control group of their own, and end with it.
const systemdProgram = `set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/system "$1/cgroup"
mount -t cgroup2 none "$1/cgroup"
mkdir "$1/cgroup/$2"
echo 0 > "$1/cgroup/$2/cgroup.procs"
exec unshare --cgroup sh -c 'umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; ` +
	systemdCommand + ` --user & wait'
`

// systemdRemoval removes the control groups that a manager leaves.
const systemdRemoval = `mount -t cgroup2 none "$1/cgroup" && find "$1/cgroup/$2" -depth -type d -exec rmdir {} +`

// UserManager is a running `systemd --user`, for the test's goroutine.
type UserManager struct {
	folder string // of its units, in systemd/user, and of their files
	env    []string
	outer  int // id of the process that made the namespaces: its child is in them
}

// SystemdUser starts a user manager. The test's end kills it and all that it
// runs.
func SystemdUser(tb testing.TB) *UserManager {
	tb.Helper()
	Require(tb, Systemd)
	if os.Geteuid() != 0 {
		tb.Skip("a user manager needs namespaces: run the tests as root")
	}
	m := &UserManager{folder: tb.TempDir()}
	runtime := filepath.Join(m.folder, "run")
	for _, folder := range []string{runtime, m.unitFolder()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	m.env = append(Environment(), "XDG_RUNTIME_DIR="+runtime, "XDG_CONFIG_HOME="+m.folder, "HOME="+m.folder,
		"DBUS_SESSION_BUS_ADDRESS=", "SYSTEMD_LOG_TARGET=console")
	log, err := os.Create(filepath.Join(m.folder, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	group := fmt.Sprintf("gerritstream-%d", os.Getpid())
	cmd := exec.CommandContext(context.Background(), "unshare", "--mount", "--pid", "--fork", "--kill-child",
		"--mount-proc", "sh", "-c", systemdProgram, "sh", m.folder, group)
	cmd.Env, cmd.Stdout, cmd.Stderr = m.env, log, log
	manager, err := startChild(cmd, "")
	_ = log.Close() // the child has its own
	if err != nil {
		tb.Fatal(err)
	}
	m.outer = cmd.Process.Pid
	tb.Cleanup(func() {
		manager.kill()
		err := within(10*time.Second, func() error { // its last processes take a moment to end
			out, err := exec.CommandContext(context.Background(),
				"unshare", "--mount", "sh", "-c", systemdRemoval, "sh", m.folder, group).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		if err != nil {
			tb.Errorf("remove the control group of systemd: %v", err)
		}
		if tb.Failed() {
			tb.Logf("systemd:\n%s", tail(log.Name()))
		}
	})
	err = within(20*time.Second, func() error {
		_, err := m.systemctl("show", "--property=Version")
		return err
	})
	if err != nil {
		tb.Fatalf("systemd does not start: %v", err)
	}
	return m
}

// within retries until try succeeds or the time is over, and returns the last
// error.
func within(limit time.Duration, try func() error) error {
	for deadline := time.Now().Add(limit); ; <-time.After(poll) {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (m *UserManager) unitFolder() string { return filepath.Join(m.folder, "systemd", "user") }

// Install writes a unit, and settings that override it, and has the manager
// read them.
func (m *UserManager) Install(tb testing.TB, name, unit, override string) {
	tb.Helper()
	path := filepath.Join(m.unitFolder(), name)
	err := errors.Join(os.MkdirAll(path+".d", 0o700), os.WriteFile(path, []byte(unit), 0o600),
		os.WriteFile(filepath.Join(path+".d", "override.conf"), []byte(override), 0o600))
	if err != nil {
		tb.Fatal(err)
	}
	m.Do(tb, "daemon-reload")
}

// Do runs `systemctl --user ARGS`.
func (m *UserManager) Do(tb testing.TB, args ...string) {
	tb.Helper()
	if _, err := m.systemctl(args...); err != nil {
		tb.Fatal(err)
	}
}

// Show returns the properties of a unit, by name.
func (m *UserManager) Show(tb testing.TB, unit string) map[string]string {
	tb.Helper()
	out, err := m.systemctl("show", unit)
	if err != nil {
		tb.Fatal(err)
	}
	properties := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		properties[name] = value
	}
	return properties
}

// systemctl runs `systemctl --user ARGS` in the manager's namespaces: the
// manager talks only to processes that it can see.
func (m *UserManager) systemctl(args ...string) (string, error) {
	inner, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", m.outer, m.outer))
	if err != nil {
		return "", fmt.Errorf("find the namespaces of systemd: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	within := []string{"--target", strings.TrimSpace(string(inner)), "--mount", "--pid", "systemctl", "--user"}
	cmd := exec.CommandContext(ctx, "nsenter", append(within, args...)...)
	cmd.Env = m.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("systemctl --user %q: %w: %s", args, err, out)
	}
	return string(out), nil
}
