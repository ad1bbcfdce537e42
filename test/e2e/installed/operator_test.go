//go:build installed

package installed

import (
	_ "embed" // testdata
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// What is on the operator's machine already: ZooKeeper, as Debian's zookeeperd
// starts it, and a scheduler of Zuul.
var (
	//go:embed testdata/zookeeper.service
	zookeeperUnit string

	//go:embed testdata/zuul-scheduler.service
	schedulerUnit string

	//go:embed testdata/scheduler.py
	scheduler string
)

// walk is a new operator's way.
type walk struct {
	*machine
	raised map[string]bool // alerts that fired, once those of the start were over
}

// TestNewOperator goes a new operator's way, as docs/install.md has it "Step by
// step": each chapter is a subtest that runs the commands which stand there, on
// a machine of its own, and compares what they print with what stands there.
// Only time is shorter: Prometheus looks every other second, and alerts wait
// seconds where they wait minutes. Each alert that fires must be in the page.
func TestNewOperator(t *testing.T) {
	peers.Require(t, peers.Systemd, peers.DebianZooKeeper, peers.Kazoo, peers.Prometheus, peers.Shell)
	w := walk{machine: boot(t)}
	w.writeMode(t, "/root/gerritstream_1.2.3-1_amd64.deb", "644", read(t, made(t, "deb")))
	w.writeMode(t, "/root/scheduler.py", "644", []byte(scheduler))
	for name, unit := range map[string]string{"zookeeper": zookeeperUnit, "zuul-scheduler": schedulerUnit} {
		w.writeMode(t, "/etc/systemd/system/"+name+".service", "644", []byte(unit))
	}
	w.do(t, "systemctl daemon-reload; systemctl start zookeeper zuul-scheduler; mkdir -p /etc/grafana")
	more := map[string]func(*testing.T, chapter){ // what a page cannot say
		"1. Install the package": w.installed,
		"4. Check it":            w.mistakes,
		"5. Start the service, and see that it reads": w.journal,
		"6. Let Prometheus watch it":                  w.calm,
		"7. Load the dashboard":                       w.dashboard,
		"8. See an alert come and go":                 w.cleared,
		"9. Clean up":                                 w.left,
	}
	for _, c := range chapters(t, page(t, "install.md"), "Step by step") {
		check := more[c.title]
		delete(more, c.title)
		began := time.Now()
		ok := t.Run(c.title, func(t *testing.T) {
			for _, s := range c.steps {
				w.follow(t, s)
			}
			if check != nil {
				check(t, c)
			}
		})
		if !ok {
			t.FailNow() // the next step needs this one
		}
		t.Logf("%s: %v", c.title, time.Since(began).Round(time.Second))
	}
	for title := range more {
		t.Errorf("docs/install.md has no chapter %q", title)
	}
}

// follow does a step. A command whose output is shown is given again until that
// appears; another one must succeed at once.
func (w *walk) follow(t *testing.T, s step) {
	t.Helper()
	switch {
	case s.file != "":
		text := strings.ReplaceAll(s.text, "interval: 15s", "interval: 2s")
		w.writeMode(t, s.file, "644", []byte(text))
	case s.printed == nil && strings.HasPrefix(s.command, "apt-get install ") && !strings.Contains(s.command, "/"):
		w.do(t, "dpkg --status "+strings.TrimPrefix(s.command, "apt-get install ")) // the machine has no network
	case s.printed == nil:
		w.do(t, s.command)
	default:
		fails := strings.HasPrefix(s.printed[0], "gerritstream: ")
		var output, missing string
		defer func() {
			if t.Failed() {
				t.Logf("%s does not print %q but\n%s", s.command, missing, output)
			}
		}()
		eventually(t, s.command, func() bool {
			var err error
			output, err = w.try(s.command)
			missing = shows(s.printed, output)
			w.look(t)
			return missing == "" && (err != nil) == fails
		})
	}
}

// installed hurries the alerts, and looks at what the package has installed.
func (w *walk) installed(t *testing.T, _ chapter) {
	const rules = "/usr/share/gerritstream/prometheus/alerts.yml"
	text := regexp.MustCompile(`(for: \d+)m\b`).ReplaceAllString(w.do(t, "cat "+rules), "${1}s")
	w.write(t, rules, []byte(text))
	if out := w.do(t, "stat --format='%U:%G %a' /var/lib/gerritstream"); out != "gerritstream:gerritstream 700" {
		t.Errorf("the folder of the queue is %s", out)
	}
	if out := w.do(t, "man --where gerritstream gerritstream-run | wc --lines"); out != "2" {
		t.Errorf("%s pages of the manual are found", out)
	}
}

// mistakes makes those of the page: each is one line, the page's.
func (w *walk) mistakes(t *testing.T, c chapter) {
	check := c.steps[len(c.steps)-1].command
	const settings, variables = "/etc/gerritstream/gerrit.yaml", "/etc/gerritstream/gerrit.env"
	made := []struct{ make, undo string }{
		{"sed -i s/gerrit$/gerrti/ " + settings, "sed -i s/gerrti$/gerrit/ " + settings},
		{"sed -i s/:2181/:2182/ " + settings, "sed -i s/:2182/:2181/ " + settings},
		{"mv " + variables + " /root", "mv /root/gerrit.env " + variables},
		{"systemctl stop zuul-scheduler", "systemctl start zuul-scheduler"},
	}
	if len(c.shown) != len(made)+1 || c.shown[len(made)] != "" {
		t.Fatalf("the page shows these mistakes, want %d: %q", len(made), c.shown)
	}
	for i, mistake := range made {
		w.do(t, mistake.make)
		output, err := w.try(check)
		var wrong []string
		for line := range strings.Lines(output) {
			if strings.HasPrefix(line, "wrong") {
				wrong = append(wrong, strings.TrimSpace(line))
			}
		}
		if err == nil || len(wrong) != 1 || shows(c.shown[i:i+1], wrong[0]) != "" {
			t.Errorf("%s: want the line\n%s\ngot %v\n%s", mistake.make, c.shown[i], err, output)
		}
		w.do(t, mistake.undo)
	}
	eventually(t, "all is well again", func() bool { _, err := w.try(check); return err == nil })
}

// journal: what the service says is text with levels, and nothing in it alarms.
// (Whether the machine has a limit of memory is not found out in namespaces.)
func (w *walk) journal(t *testing.T, _ chapter) {
	const command = "journalctl --unit gerritstream@gerrit --output cat"
	if out := w.do(t, command); !strings.Contains(out, "level=INFO msg=following ") || strings.Contains(out, "time=") {
		t.Errorf("journal:\n%s", out)
	}
	for line := range strings.Lines(w.do(t, command+" --priority warning")) {
		if !strings.Contains(line, "cannot read the cgroup's memory limit") {
			t.Errorf("journal: %s", line)
		}
	}
}

// calm: once the process has been scraped for a while no alert fires.
func (w *walk) calm(t *testing.T, _ chapter) {
	eventually(t, "no alert fires", func() bool { return len(w.firing(t)) == 0 })
	w.raised = map[string]bool{} // before the first scrape nobody was there
}

// firing returns the alerts that fire.
func (w *walk) firing(t *testing.T) (names []string) {
	t.Helper()
	var answer struct {
		Data struct {
			Alerts []struct {
				Labels, Annotations map[string]string
				State               string
			}
		}
	}
	if err := json.Unmarshal([]byte(w.do(t, "curl -sSf http://127.0.0.1:9090/api/v1/alerts")), &answer); err != nil {
		t.Fatal(err)
	}
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" {
			names = append(names, a.Labels["alertname"])
		}
	}
	return names
}

// look remembers which alerts fire, once none is left over from the start.
func (w *walk) look(t *testing.T) {
	t.Helper()
	if w.raised != nil {
		for _, name := range w.firing(t) {
			w.raised[name] = true
		}
	}
}

// cleared: nothing fires any more, and nothing else has. The dashboard shows
// the outage.
func (w *walk) cleared(t *testing.T, _ chapter) {
	eventually(t, "no alert fires", func() bool { w.look(t); return len(w.firing(t)) == 0 })
	if !w.raised["GerritstreamStoreAway"] || len(w.raised) != 1 {
		t.Errorf("raised %v, want GerritstreamStoreAway alone", w.raised)
	}
	w.queries(t, true)
}

// left looks at what a purge leaves.
func (w *walk) left(t *testing.T, _ chapter) {
	if out, err := w.try("pgrep --exact gerritstream"); err == nil {
		t.Errorf("processes %s still run", out)
	}
	if out := w.do(t, "systemctl list-units --all --plain --no-legend 'gerritstream*' 'emulate*'"); out != "" {
		t.Errorf("units are left: %s", out)
	}
	if out := w.do(t, "cd /etc/gerritstream; ls"); out != "gerrit.env" {
		t.Errorf("settings are left: %s", out)
	}
	w.do(t, "test -d /var/lib/gerritstream; getent passwd gerritstream")
}
