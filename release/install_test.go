package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long something quick may take on a busy machine.
const patience = 60 * time.Second

// stream is `gerritstream emulate`, with one shard.
type stream struct{ endpoint string }

// emulate serves the stream until the test ends.
func emulate(t *testing.T, program string) stream {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "emulate", "--addr", "127.0.0.1:0",
		"--stream", "gerrit", "--shards", "1")
	log := filepath.Join(t.TempDir(), "emulate.log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	var s stream
	eventually(t, "emulate is ready", func() bool {
		_, rest, _ := strings.Cut(string(readFile(t, log)), "ready at ")
		endpoint, _, whole := strings.Cut(rest, ": ")
		s.endpoint = endpoint
		return whole
	})
	return s
}

// put puts an event into the stream.
func (s stream) put(t *testing.T, event string) {
	t.Helper()
	body, _ := json.Marshal(map[string]any{"StreamName": "gerrit", "PartitionKey": "k", "Data": []byte(event)})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"X-Amz-Target": "Kinesis_20131202.PutRecord", "Content-Type": "application/x-amz-json-1.1",
		"X-Amz-Date":    "20260101T000000Z",
		"Authorization": "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
	} {
		request.Header.Set(key, value)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if text, _ := io.ReadAll(reply.Body); reply.StatusCode != http.StatusOK {
		t.Fatalf("put: %s: %s", reply.Status, text)
	}
}

// freePort returns a port of the loopback interface that nobody uses.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// get returns the answer of a process' admin port; "": none with status 200.
func get(t *testing.T, port, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		return ""
	}
	return string(text)
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
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
// machine's until one is changed, and its first process is systemd.
type machine struct {
	inner string // id of its first process
	log   string
}

// boot boots a machine. The test's end kills it and all that runs in it.
func boot(t *testing.T) *machine {
	t.Helper()
	require(t, "/lib/systemd/systemd", "systemd")
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
	group := fmt.Sprintf("gerritstream-release-%d", os.Getpid())
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "unshare", "--mount", "--pid", "--uts",
		"--fork", "--kill-child", "sh", "-c", bootScript, "sh", folder, group)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			journal, err := m.try("journalctl", "--no-pager", "--unit", "gerritstream*", "--lines", "30")
			t.Logf("machine:\n%s\n%s (%v)", readFile(t, m.log), journal, err)
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
		out, err := m.try("systemctl", "is-active", "trial.target")
		return err == nil && out == "active"
	})
	return m
}

// try runs a command on the machine.
func (m *machine) try(args ...string) (string, error) { return m.feed(nil, args...) }

// feed runs a command on the machine with an input.
func (m *machine) feed(input io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	entered := append([]string{
		"--target", m.inner, "--mount", "--pid", "--root", "--wd", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"SYSTEMD_PAGER=cat", "DEBIAN_FRONTEND=noninteractive",
	}, args...)
	cmd := exec.CommandContext(ctx, "nsenter", entered...)
	cmd.Stdin = input
	out, err := cmd.CombinedOutput()
	return strings.TrimRight(string(out), "\n"), err
}

// do runs a command on the machine, which must succeed, and returns its output.
func (m *machine) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.try(args...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return out
}

// write writes a file of the machine. Of a new one only root gets access.
func (m *machine) write(t *testing.T, path string, data []byte) {
	t.Helper()
	if out, err := m.feed(bytes.NewReader(data), "sh", "-c", `umask 077 && cat >"$1"`, "sh", path); err != nil {
		t.Fatalf("write %s: %v\n%s", path, err, out)
	}
}

// documented returns a file that a page of docs shows.
func documented(t *testing.T, page, name string) string {
	t.Helper()
	text := string(readFile(t, filepath.Join("..", "docs", page)))
	_, shown, found := strings.Cut(text, "/"+name+"\n")
	if !found {
		t.Fatalf("docs/%s does not show %s", page, name)
	}
	var file strings.Builder
	for line := range strings.Lines(shown) {
		line, found := strings.CutPrefix(line, "    ")
		if !found {
			break
		}
		file.WriteString(line)
	}
	return file.String()
}

// The service that the tests start, and where its queue is.
const (
	unit     = "gerritstream@gerrit.service"
	database = "/var/lib/gerritstream/gerrit.db"
	packaged = "/root/gerritstream.deb" // on the machine
)

// bootWithPackage boots a machine and installs the package on it.
func bootWithPackage(t *testing.T) *machine {
	t.Helper()
	require(t, "dpkg", "dpkg")
	deb := readFile(t, find(t, "_"+runtime.GOARCH+".deb"))
	m := boot(t)
	m.write(t, packaged, deb)
	m.do(t, "dpkg", "--install", packaged)
	return m
}

// show returns a property of a service.
func (m *machine) show(t *testing.T, unit, property string) string {
	t.Helper()
	return m.do(t, "systemctl", "show", "--value", "--property="+property, unit)
}

// TestDebRunsUnderSystemd installs the package on a machine of its own, as an
// operator does, and starts its service, with all that the unit forbids.
// Upgrading it keeps the settings and restarts the service; purging it stops
// the service, and keeps the queue.
func TestDebRunsUnderSystemd(t *testing.T) {
	server := emulate(t, hostProgram(t))
	m := bootWithPackage(t)
	if out := m.do(t, "systemd-analyze", "verify", unit, "gerritstream-zuul@gerrit.service"); out != "" {
		t.Errorf("verify: %s", out)
	}
	if out := m.do(t, "man", "--where", "gerritstream-run"); out != "/usr/share/man/man1/gerritstream-run.1.gz" {
		t.Errorf("the manual is at %q", out)
	}

	port := freePort(t)
	settings := "stream: gerrit\nstart_at: trim-horizon\nadmin: 127.0.0.1:" + port + "\n" +
		"aws: {region: us-east-1, endpoint: '" + server.endpoint + "'}\n"
	m.write(t, "/etc/gerritstream/gerrit.yaml", []byte(settings))
	m.write(t, "/etc/gerritstream/gerrit.env", []byte("AWS_ACCESS_KEY_ID=any\nAWS_SECRET_ACCESS_KEY=any\n"))
	server.put(t, `{"type":"comment-added","change":{"project":"demo","branch":"main","number":4711}}`)
	m.do(t, "chmod", "644", "/etc/gerritstream/gerrit.yaml")
	m.do(t, "systemctl", "enable", "--now", unit)
	queued := func(n int) func() bool {
		return func() bool {
			return strings.Contains(get(t, port, "/metrics"), fmt.Sprintf("\ngerritstream_queue_depth %d\n", n))
		}
	}
	eventually(t, "the event is queued", queued(1))
	eventually(t, "the process is ready", func() bool { return get(t, port, "/readyz") != "" })
	if out := m.do(t, "stat", "--format", "%U %a", database); out != "gerritstream 600" {
		t.Errorf("the queue belongs to %s", out)
	}
	if user, status := m.show(t, unit, "User"), m.show(t, unit, "StatusText"); user != "gerritstream" || status == "" {
		t.Errorf("user %s, status %q", user, status)
	}

	before := m.show(t, unit, "MainPID")
	m.do(t, "dpkg", "--install", packaged)
	if after := m.show(t, unit, "MainPID"); after == before || after == "0" {
		t.Errorf("the upgrade left process %s running: now %s", before, after)
	}
	if out := m.do(t, "cat", "/etc/gerritstream/gerrit.yaml"); out+"\n" != settings {
		t.Errorf("the upgrade changed the settings to\n%s", out)
	}
	server.put(t, `{"type":"change-merged","change":{"project":"demo","branch":"main","number":4711}}`)
	eventually(t, "the new process queues, too", queued(2))

	checkGroup(t, m)
	checkPurge(t, m)
}

// checkGroup gives the queue to the group, by file and by socket, as the
// documents say.
func checkGroup(t *testing.T, m *machine) {
	t.Helper()
	m.do(t, "mkdir", "-p", "/etc/systemd/system/"+unit+".d")
	for page, name := range map[string]string{"operations.md": "group.conf", "consumers.md": "socket.conf"} {
		m.write(t, "/etc/systemd/system/"+unit+".d/"+name, []byte(documented(t, page, name)))
	}
	m.do(t, "systemctl", "daemon-reload")
	m.do(t, "systemctl", "restart", unit)
	if out := m.do(t, "stat", "--format", "%U:%G %a", filepath.Dir(database), database, database+"-wal"); out !=
		"gerritstream:gerritstream 2770\ngerritstream:gerritstream 660\ngerritstream:gerritstream 660" {
		t.Errorf("for a group the queue is\n%s", out)
	}
	ask := func(groups string) error {
		_, err := m.try("setpriv", "--reuid=nobody", "--regid=nogroup", groups, "curl", "-sS", "--fail",
			"--unix-socket", "/run/gerritstream/gerrit.sock", "http://gerrit/v1/consumers")
		return err
	}
	eventually(t, "a member of the group reads through the socket", func() bool {
		return ask("--groups=gerritstream") == nil
	})
	if ask("--clear-groups") == nil {
		t.Error("everybody may use the socket")
	}
}

// checkPurge removes the package and looks at what is left.
func checkPurge(t *testing.T, m *machine) {
	t.Helper()
	m.do(t, "dpkg", "--purge", "gerritstream")
	if out, err := m.try("pgrep", "--exact", "gerritstream"); err == nil {
		t.Errorf("process %s still runs", out)
	}
	if _, err := m.try("test", "-e", "/etc/gerritstream/gerrit.yaml"); err == nil {
		t.Error("the settings are still there")
	}
	m.do(t, "test", "-s", database)
}

// TestZuulsUnitReadsZuulsFile: the service has a user of its own, and gets to
// the file by Zuul's group.
func TestZuulsUnitReadsZuulsFile(t *testing.T) {
	m := bootWithPackage(t)
	m.do(t, "groupadd", "--system", "zuul")
	m.do(t, "mkdir", "-p", "/etc/zuul")
	m.write(t, "/etc/zuul/zuul.conf", []byte(`[zookeeper]
hosts=127.0.0.1:1
[connection gerrit]
driver=gerrit
server=review.example
aws_kinesis_region=us-east-1
aws_kinesis_stream=gerrit
aws_kinesis_access_key=any
aws_kinesis_secret_key=any
`))
	m.write(t, "/etc/gerritstream/gerrit.env", []byte("GERRITSTREAM_ADMIN=127.0.0.1:"+freePort(t)+"\n"))
	const unit = "gerritstream-zuul@gerrit.service"
	m.do(t, "systemctl", "start", "--no-block", unit)
	eventually(t, "without the group the file cannot be read", func() bool {
		return m.show(t, unit, "ActiveState") == "failed" && m.show(t, unit, "ExecMainStatus") == "78"
	})
	m.do(t, "chgrp", "zuul", "/etc/zuul/zuul.conf")
	m.do(t, "chmod", "640", "/etc/zuul/zuul.conf")
	m.do(t, "systemctl", "start", "--no-block", unit)
	eventually(t, "it starts with the ZooKeeper of the file", func() bool {
		return m.show(t, unit, "ActiveState") == "active" &&
			strings.Contains(m.do(t, "journalctl", "--no-pager", "--unit", unit), "zookeeper://127.0.0.1:1")
	})
}
