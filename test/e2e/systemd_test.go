package e2e

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// packagedUnit returns a unit that the packages install.
func packagedUnit(t *testing.T, template string) string {
	t.Helper()
	return string(read(t, filepath.Join("..", "..", "deploy", "systemd", template+"@.service")))
}

// TestUnderSystemd starts the packages' units under a real systemd: the
// process waits for a stream that does not exist yet; systemd restarts it after
// a panic, which is how the watchdog's signal ends, but not after a wrong
// command line or configuration.
func TestUnderSystemd(t *testing.T) {
	t.Parallel()
	manager := peers.SystemdUser(t)
	for _, template := range []string{"gerritstream", "gerritstream-zuul"} {
		t.Run(template, func(t *testing.T) {
			service := service{manager: manager, template: template, database: newDatabase(t)}
			server := kinesistest.New(kinesistest.Options{NoLimits: true})
			listener := httptest.NewServer(server)
			t.Cleanup(listener.Close)
			run := strings.Join(fromStart(listener.URL, service.database), " ")

			service.start(t, run)
			service.await(t, "the process waits for the stream", func(p map[string]string) bool {
				return strings.Contains(p["StatusText"], "stream gerrit not found")
			})
			createStream(t, server)
			reading := func(restarts int) func(map[string]string) bool {
				return func(p map[string]string) bool {
					return p["NRestarts"] == fmt.Sprint(restarts) && strings.Contains(p["StatusText"], "reading 1 of 1")
				}
			}
			service.await(t, "the stream is read", reading(0))

			manager.Do(t, "kill", "--kill-whom=main", "--signal=ABRT", service.name())
			service.await(t, "the process is back after an abort", reading(1))
			manager.Do(t, "stop", service.name())

			service.staysDown(t, "run --strem gerrit", "64")
			service.staysDown(t, "run --stream gerrit --admin nowhere", "78")
		})
	}
}

func createStream(t *testing.T, server *kinesistest.Server) {
	t.Helper()
	if _, err := server.CreateStream(streamName, 1); err != nil {
		t.Fatal(err)
	}
}

// service is a unit of the packages with this test's overrides.
type service struct {
	manager            *peers.UserManager
	template, database string
}

func (s service) name() string { return s.template + "@gerrit.service" }

// start starts the unit with another command line, and without the settings
// that need another user or file systems of their own. All that forbids system
// calls, address families and writable code stays.
func (s service) start(t *testing.T, args string) {
	t.Helper()
	s.manager.Install(t, s.template+"@.service", packagedUnit(t, s.template), fmt.Sprintf(`[Service]
ExecStart=
ExecStart=%s %s
RestartSec=200ms
User=
Group=
DynamicUser=no
SupplementaryGroups=
PrivateDevices=no
PrivateTmp=no
PrivateUsers=no
ProtectControlGroups=no
ProtectHome=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
ProtectProc=default
ProtectSystem=no
`, peers.ProgramPath, args))
	s.manager.Do(t, "start", "--no-block", s.name())
}

func (s service) await(t *testing.T, what string, holds func(properties map[string]string) bool) {
	t.Helper()
	var last map[string]string
	defer func() {
		if t.Failed() {
			t.Logf("state %s, result %s, exit status %s, restarts %s, status %q",
				last["ActiveState"], last["Result"], last["ExecMainStatus"], last["NRestarts"], last["StatusText"])
		}
	}()
	eventually(t, what, func() bool {
		last = s.manager.Show(t, s.name())
		return holds(last)
	})
}

// staysDown starts the unit with a bad command line and checks that it is not
// restarted.
func (s service) staysDown(t *testing.T, args, code string) {
	t.Helper()
	s.start(t, args)
	s.await(t, "the unit has failed with exit code "+code, func(p map[string]string) bool {
		return p["ActiveState"] == "failed" && p["ExecMainStatus"] == code && p["NRestarts"] == "0"
	})
}

// TestUnitsAreSound has systemd check the packages' units: that it understands
// every line, and how much a process that was taken over could still do (0 is
// nothing, 10 everything).
func TestUnitsAreSound(t *testing.T) {
	peers.Require(t, peers.Systemd)
	for _, template := range []string{"gerritstream", "gerritstream-zuul"} {
		path := filepath.Join(t.TempDir(), template+"@.service")
		unit := strings.ReplaceAll(packagedUnit(t, template), "/usr/bin/gerritstream", peers.ProgramPath)
		if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, check := range [][]string{
			{"verify", "--man=no"},
			{"security", "--offline=yes", "--threshold=19", "--no-pager"},
		} {
			out, err := exec.Command("systemd-analyze", append(check, path)...).CombinedOutput()
			if err != nil || check[0] == "verify" && len(out) > 0 {
				t.Errorf("%s: systemd-analyze %s: %v\n%s", template, check[0], err, out)
			}
		}
	}
}
