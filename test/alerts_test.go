package test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/gerritstream/gerritstream/internal/peers"
)

const alertsFile = "deploy/prometheus/alerts.yml"

// alertTestsFiles are the cases of alerts, and those that take a day.
var alertTestsFiles = []string{"deploy/prometheus/alerts_test.yml", "deploy/prometheus/alerts_days_test.yml"}

// alert is an alert as Prometheus reads it.
type alert struct {
	Name   string `yaml:"alert"`
	Labels struct {
		Severity string `yaml:"severity"`
	} `yaml:"labels"`
	Annotations struct {
		Summary     string `yaml:"summary"`
		Description string `yaml:"description"`
		Runbook     string `yaml:"runbook_url"`
	} `yaml:"annotations"`
}

// readAlerts returns the alerts, without the recordings.
func readAlerts(t *testing.T) (all []alert) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, alertsFile)), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			if rule.Name != "" {
				all = append(all, rule)
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no alerts", alertsFile)
	}
	return all
}

// TestAlertsFire: in its case each alert fires, with no other, and in the one
// next to it none does.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	peers.Require(t, peers.Prometheus)
	tests := ""
	commands := [][]string{{"check", "rules", alertsFile}}
	for _, file := range alertTestsFiles {
		commands = append(commands, []string{"test", "rules", file})
		tests += readFile(t, file)
	}
	for _, args := range commands {
		args[2] = filepath.Join("..", filepath.FromSlash(args[2]))
		out, err := exec.CommandContext(t.Context(), peers.Promtool, args...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	for _, a := range readAlerts(t) {
		if !strings.Contains(tests, `alertname="`+a.Name+`"`) || !strings.Contains(tests, a.Name+":") {
			t.Errorf("%s is not tested", a.Name)
		}
	}
}

// TestAlertsAreInTheRunbook: each alert says how bad it is and what it is, and
// leads to the section of the runbook that names it. A section names no others.
func TestAlertsAreInTheRunbook(t *testing.T) {
	page := readFile(t, "docs/runbook.md")
	base := regexp.MustCompile(`const runbook = "(.*)"`).FindStringSubmatch(source(t, "internal/admin"))[1]
	sections := map[string]string{} // by anchor
	for _, text := range strings.Split(page, "\n## ")[1:] {
		title, _, _ := strings.Cut(text, "\n")
		sections[anchors("# " + title)[0]] = text
	}
	named := map[string][]string{} // by anchor
	for _, a := range readAlerts(t) {
		anchor, ok := strings.CutPrefix(a.Annotations.Runbook, base)
		if !ok || sections[anchor] == "" {
			t.Errorf("%s leads to %q, where there is no section", a.Name, a.Annotations.Runbook)
		}
		named[anchor] = append(named[anchor], a.Name)
		if !slices.Contains([]string{"critical", "warning"}, a.Labels.Severity) || a.Annotations.Summary == "" ||
			a.Annotations.Description == "" {
			t.Errorf("%s has no severity, summary or description: %+v", a.Name, a)
		}
		if !strings.Contains(sections[anchor], "`"+a.Name+"`") || !strings.Contains(sections[anchor], a.Labels.Severity) {
			t.Errorf("%s: the section does not name it as %s:\n%s", a.Name, a.Labels.Severity, sections[anchor])
		}
	}
	for anchor, text := range sections {
		var found []string
		for _, m := range regexp.MustCompile("`(Gerritstream\\w+)`").FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		slices.Sort(found)
		slices.Sort(named[anchor])
		if !slices.Equal(found, named[anchor]) {
			t.Errorf("%s names %q, and these lead there: %q", anchor, found, named[anchor])
		}
	}
}
