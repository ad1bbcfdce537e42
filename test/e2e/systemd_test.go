package e2e

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// unitName is the unit's name in the documents.
const unitName = "gerritstream.service"

// documentedUnit returns the unit in a page.
func documentedUnit(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	const indent = "    "
	_, rest, found := strings.Cut(string(text), indent+"# /etc/systemd/system/"+unitName+"\n")
	if !found {
		t.Fatalf("%s shows no unit", page)
	}
	var unit strings.Builder
	for line := range strings.Lines(rest) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, indent) {
			break
		}
		unit.WriteString(strings.TrimPrefix(line, indent))
	}
	return unit.String()
}

// TestUnderSystemd starts the documented units under a real systemd: the
// process waits for a stream that does not exist yet; systemd restarts it after
// a panic, which is how the watchdog's signal ends, but not after a wrong
// command line or configuration.
func TestUnderSystemd(t *testing.T) {
	t.Parallel()
	manager := peers.SystemdUser(t)
	for _, page := range []string{"docs/operations.md", "docs/zuul.md"} {
		t.Run(page, func(t *testing.T) {
			service := service{manager: manager, unit: documentedUnit(t, page), database: newDatabase(t)}
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

			manager.Do(t, "kill", "--kill-whom=main", "--signal=ABRT", unitName)
			service.await(t, "the process is back after an abort", reading(1))
			manager.Do(t, "stop", unitName)

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

// service is a documented unit with this test's overrides.
type service struct {
	manager        *peers.UserManager
	unit, database string
}

// start starts the unit with another command line, and without the settings
// that hide the test's files.
func (s service) start(t *testing.T, args string) {
	t.Helper()
	s.manager.Install(t, unitName, s.unit, fmt.Sprintf(`[Service]
ExecStart=
ExecStart=%s %s
RestartSec=200ms
DynamicUser=no
SupplementaryGroups=
PrivateTmp=no
ProtectHome=no
ProtectSystem=no
`, peers.ProgramPath, args))
	s.manager.Do(t, "start", "--no-block", unitName)
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
		last = s.manager.Show(t, unitName)
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
