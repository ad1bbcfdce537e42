//go:build installed

package installed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// documented returns a file that a page of docs shows.
func documented(t *testing.T, at, name string) string {
	t.Helper()
	_, shown, found := strings.Cut(page(t, at), "/"+name+"\n")
	if !found {
		t.Fatalf("docs/%s does not show %s", at, name)
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

// The service that the tests start, where its queue is, and what it reads.
const (
	unit     = "gerritstream@gerrit.service"
	database = "/var/lib/gerritstream/gerrit.db"
	packaged = "/root/gerritstream.deb" // on the machine
	settings = `stream: gerrit
start_at: trim-horizon
aws: {region: us-east-1, endpoint: "http://127.0.0.1:4567"}
`
)

// bootWithPackage boots a machine and installs the package on it.
func bootWithPackage(t *testing.T) *machine {
	t.Helper()
	m := boot(t)
	m.write(t, packaged, read(t, made(t, "deb")))
	m.do(t, "dpkg --install "+packaged)
	return m
}

// serve starts emulate and the service, as an operator does.
func (m *machine) serve(t *testing.T) {
	t.Helper()
	m.do(t, "systemd-run --unit=emulate gerritstream emulate --addr 127.0.0.1:4567 --stream gerrit")
	m.write(t, "/etc/gerritstream/gerrit.yaml", []byte(settings))
	m.write(t, "/etc/gerritstream/gerrit.env", []byte("AWS_ACCESS_KEY_ID=any\nAWS_SECRET_ACCESS_KEY=any\n"))
	m.do(t, "chmod 644 /etc/gerritstream/gerrit.yaml; systemctl enable --now "+unit)
	eventually(t, "the process is ready", func() bool {
		_, err := m.try("curl -sf http://127.0.0.1:9419/readyz")
		return err == nil
	})
}

// put has the machine put events with these numbers, ten a second.
func (m *machine) put(t *testing.T, name string, from, to int) {
	t.Helper()
	const script = `signature="AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/kinesis/aws4_request"
signature="$signature, SignedHeaders=host, Signature=0"
for n in $(seq "$1" "$2"); do
event='{"type":"comment-added","change":{"project":"demo","branch":"main","number":'$n'}}'
until curl -sSf http://127.0.0.1:4567 -H "X-Amz-Target: Kinesis_20131202.PutRecord" \
	-H "Content-Type: application/x-amz-json-1.1" -H "X-Amz-Date: 20260101T000000Z" \
	-H "Authorization: $signature" \
	-d '{"StreamName":"gerrit","PartitionKey":"k","Data":"'"$(echo "$event" | base64 -w0)"'"}'
do sleep 0.1; done
sleep 0.1
done`
	m.do(t, `systemd-run --quiet --unit="$1" --property=RemainAfterExit=yes sh -ec "$2" sh "$3" "$4"`,
		name, script, fmt.Sprint(from), fmt.Sprint(to))
}

// awaitQueued waits until the queue has the events 1 to n, each once.
func (m *machine) awaitQueued(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d events are queued", n), func() bool {
		out, err := m.try("sqlite3 -readonly " + database + ` "SELECT count(*), count(DISTINCT change), max(change) FROM events"`)
		return err == nil && out == fmt.Sprintf("%d|%d|%d", n, n, n)
	})
}

// newer makes the next version of a package, with another example of the
// settings in it, and returns its path.
func newer(t *testing.T, path string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "newer")
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "dpkg-deb", args...).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb %q: %v\n%s", args, err, out)
		}
	}
	run("--raw-extract", path, folder)
	change := func(name, pattern, replacement string) {
		t.Helper()
		file := filepath.Join(folder, filepath.FromSlash(name))
		before := string(read(t, file))
		after := regexp.MustCompile(pattern).ReplaceAllString(before, replacement)
		if after == before {
			t.Fatalf("%s has no %s", name, pattern)
		}
		if err := os.WriteFile(file, []byte(after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	change("DEBIAN/control", `(?m)^Version: .*`, "Version: 99.0.0-1")
	change("etc/gerritstream/gerrit.yaml", `(?m)\z`, "# Something new.\n")
	run("--build", "--root-owner-group", "-Zgzip", "-z1", folder, folder+".deb")
	return folder + ".deb"
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestDebRunsUnderSystemd installs the package on a machine of its own, as an
// operator does, and starts its service, with all that the unit forbids.
// Upgrading it keeps the settings, restarts the service and loses no event that
// arrives meanwhile; removing it stops the service; purging it keeps the queue
// alone.
func TestDebRunsUnderSystemd(t *testing.T) {
	m := bootWithPackage(t)
	if out := m.do(t, "systemd-analyze verify "+unit+" gerritstream-zuul@gerrit.service"); out != "" {
		t.Errorf("verify: %s", out)
	}
	m.serve(t)
	m.put(t, "first", 1, 1)
	m.awaitQueued(t, 1)
	if out := m.do(t, "stat --format '%U %a' "+database); out != "gerritstream 600" {
		t.Errorf("the queue belongs to %s", out)
	}
	if user, status := m.show(t, unit, "User"), m.show(t, unit, "StatusText"); user != "gerritstream" || status == "" {
		t.Errorf("user %s, status %q", user, status)
	}

	m.write(t, "/root/newer.deb", read(t, newer(t, made(t, "deb"))))
	before := m.show(t, unit, "MainPID")
	m.put(t, "meanwhile", 2, 50)
	if out, err := m.feed(strings.NewReader("\n"), "dpkg --install /root/newer.deb"); err != nil {
		t.Fatalf("upgrade: %v\n%s", err, out)
	}
	if after := m.show(t, unit, "MainPID"); after == before || after == "0" {
		t.Errorf("the upgrade left process %s running: now %s", before, after)
	}
	if out := m.do(t, "dpkg-query --show --showformat='${Version}' gerritstream"); out != "99.0.0-1" {
		t.Errorf("installed is %s", out)
	}
	if out := m.do(t, "cat /etc/gerritstream/gerrit.yaml"); out+"\n" != settings {
		t.Errorf("the upgrade changed the settings to\n%s", out)
	}
	m.awaitQueued(t, 50)

	checkGroup(t, m)
	m.do(t, "systemctl stop emulate; dpkg --remove gerritstream")
	if out, err := m.try("pgrep --exact gerritstream"); err == nil {
		t.Errorf("process %s still runs", out)
	}
	m.do(t, "test -e /etc/gerritstream/gerrit.yaml")
	checkPurge(t, m)
}

// checkGroup gives the queue to the group, by file and by socket, as the
// documents say.
func checkGroup(t *testing.T, m *machine) {
	t.Helper()
	for at, name := range map[string]string{"operations.md": "group.conf", "consumers.md": "socket.conf"} {
		m.write(t, "/etc/systemd/system/"+unit+".d/"+name, []byte(documented(t, at, name)))
	}
	m.do(t, "systemctl daemon-reload; systemctl restart "+unit)
	if out := m.do(t, "cd /var/lib/gerritstream; stat --format '%U:%G %a' . gerrit.db gerrit.db-wal"); out !=
		"gerritstream:gerritstream 2770\ngerritstream:gerritstream 660\ngerritstream:gerritstream 660" {
		t.Errorf("for a group the queue is\n%s", out)
	}
	ask := func(groups string) error {
		_, err := m.try("setpriv --reuid=nobody --regid=nogroup " + groups + " curl -sS --fail" +
			" --unix-socket /run/gerritstream/gerrit.sock http://gerrit/v1/consumers")
		return err
	}
	eventually(t, "a member of the group reads through the socket", func() bool {
		return ask("--groups=gerritstream") == nil
	})
	if ask("--clear-groups") == nil {
		t.Error("everybody may use the socket")
	}
}

// checkPurge purges the package and looks at what is left.
func checkPurge(t *testing.T, m *machine) {
	t.Helper()
	m.do(t, "dpkg --purge gerritstream")
	out, _ := m.try("ls -d /etc/gerritstream/gerrit.yaml /etc/systemd/system/*.wants/gerritstream* 2>/dev/null")
	if out != "" {
		t.Errorf("there are still %s", out)
	}
	m.do(t, "test -s "+database)
}

// TestZuulsUnitReadsZuulsFile: the service has a user of its own, and gets to
// the file by Zuul's group.
func TestZuulsUnitReadsZuulsFile(t *testing.T) {
	m := bootWithPackage(t)
	m.do(t, "groupadd --system zuul")
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
	const unit = "gerritstream-zuul@gerrit.service"
	m.do(t, "systemctl start --no-block "+unit)
	eventually(t, "without the group the file cannot be read", func() bool {
		return m.show(t, unit, "ActiveState") == "failed" && m.show(t, unit, "ExecMainStatus") == "78"
	})
	m.do(t, "chgrp zuul /etc/zuul/zuul.conf; chmod 640 /etc/zuul/zuul.conf")
	m.do(t, "systemctl start --no-block "+unit)
	eventually(t, "it starts with the ZooKeeper of the file", func() bool {
		return m.show(t, unit, "ActiveState") == "active" &&
			strings.Contains(m.do(t, "journalctl --unit "+unit), "zookeeper://127.0.0.1:1")
	})
}

// TestRPMRunsUnderSystemd has rpm install the package on a machine of its own,
// install it again, and remove it: its scripts do what the .deb's do.
func TestRPMRunsUnderSystemd(t *testing.T) {
	peers.Require(t, peers.RPM)
	m := boot(t)
	const packaged = "/root/gerritstream.rpm"
	m.write(t, packaged, read(t, made(t, "rpm")))
	install := "--nodeps --define='_dbpath /root/rpmdb' " // Debian's is read by nobody
	m.do(t, "rpm --install "+install+packaged)
	m.serve(t)
	before := m.show(t, unit, "MainPID")
	m.do(t, "rpm --upgrade --force "+install+packaged)
	if after := m.show(t, unit, "MainPID"); after == before || after == "0" {
		t.Errorf("the upgrade left process %s running: now %s", before, after)
	}
	if out := m.do(t, "cat /etc/gerritstream/gerrit.yaml"); out+"\n" != settings {
		t.Errorf("the upgrade changed the settings to\n%s", out)
	}
	m.put(t, "first", 1, 1)
	m.awaitQueued(t, 1)
	m.do(t, "rpm --erase "+install+"gerritstream")
	if state := m.show(t, unit, "ActiveState"); state != "inactive" {
		t.Errorf("the service is %s", state)
	}
	if out := m.do(t, "cat /etc/gerritstream/gerrit.yaml.rpmsave"); out+"\n" != settings {
		t.Errorf("the settings were saved as\n%s", out)
	}
	if out, err := m.try("ls /etc/systemd/system/*.wants/gerritstream*"); err == nil {
		t.Errorf("there are still %s", out)
	}
	m.do(t, "test -s "+database)
}
