package test

import (
	"encoding/json"
	"fmt"
	"os"
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

// TestDashboardQueriesAreValid: promtool parses each query of the dashboard, as
// Grafana would send it, and no panel covers another.
func TestDashboardQueriesAreValid(t *testing.T) {
	t.Parallel()
	peers.Require(t, peers.Prometheus)
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, "deploy/grafana/gerritstream.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	taken := map[[2]int]string{}
	for _, p := range dashboard.Panels {
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" || at[0] >= 24 {
					t.Fatalf("%q covers %q or lies outside", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%q asks for nothing", p.Title)
		}
		for i, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$connection", ".*").Replace(target.Expr)
			fmt.Fprintf(&rules, "  - {record: 'panel_%d_%d', expr: '%s'}\n", p.ID, i, expr)
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), peers.Promtool, "check", "rules", file).CombinedOutput()
	if err != nil || len(dashboard.Panels) == 0 {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}

// TestDashboardCanBeImported holds the dashboard against what Grafana's
// importer and its provisioning ask for: no id of another Grafana, an uid,
// a schema that is known, panels that are told apart, and no name that is not
// explained.
func TestDashboardCanBeImported(t *testing.T) {
	t.Parallel()
	text := readFile(t, "deploy/grafana/gerritstream.json")
	var d struct {
		ID            any `json:"id"`
		Inputs        any `json:"__inputs"` // provisioning would leave them as they are
		UID           string
		Title         string
		SchemaVersion int
		Panels        []panel
		Templating    struct {
			List []struct{ Name, Type, Query any }
		}
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	if d.ID != nil || d.Inputs != nil || !regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`).MatchString(d.UID) ||
		d.Title == "" || d.SchemaVersion < 36 || d.SchemaVersion > 41 {
		t.Errorf("id %v, inputs %v, uid %q, title %q, schema %d", d.ID, d.Inputs, d.UID, d.Title, d.SchemaVersion)
	}
	known := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		known[fmt.Sprint(v.Name)] = true
		if v.Name == "datasource" && (v.Type != "datasource" || v.Query != "prometheus") {
			t.Errorf("the source of data is a %v of %v", v.Type, v.Query)
		}
	}
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(text, -1) {
		if !known[m[1]] && m[1] != "__all" {
			t.Errorf("$%s is no variable of the dashboard", m[1])
		}
	}
	var whole any
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		t.Fatal(err)
	}
	for _, source := range members(whole, "datasource") {
		if fmt.Sprint(source) != "map[type:prometheus uid:${datasource}]" {
			t.Errorf("a source of data has a name of its own: %v", source)
		}
	}
	if !known["datasource"] || !known["connection"] {
		t.Errorf("its variables are %v", known)
	}
	checkPanels(t, d.Panels)
}

// panel is what tells a panel of a dashboard apart.
type panel struct {
	ID      int
	Title   string
	Targets []struct{ RefID string }
}

// checkPanels looks for panels, and queries of one, that cannot be told apart.
func checkPanels(t *testing.T, all []panel) {
	t.Helper()
	panels := map[int]string{}
	for _, p := range all {
		if p.ID <= 0 || panels[p.ID] != "" {
			t.Errorf("panel %q has the id %d, as %q has", p.Title, p.ID, panels[p.ID])
		}
		panels[p.ID] = p.Title
		letters := map[string]bool{}
		for _, target := range p.Targets {
			if target.RefID == "" || letters[target.RefID] {
				t.Errorf("%q has two queries %q", p.Title, target.RefID)
			}
			letters[target.RefID] = true
		}
	}
	if len(panels) == 0 {
		t.Error("there are no panels")
	}
}

// members returns what objects in a JSON value have as a member of this name.
func members(v any, name string) (found []any) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if key == name {
				found = append(found, member)
			}
			found = append(found, members(member, name)...)
		}
	case []any:
		for _, element := range v {
			found = append(found, members(element, name)...)
		}
	}
	return found
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
		text := sections[anchor]
		if !strings.Contains(text, "`"+a.Name+"`") || !strings.Contains(text, a.Labels.Severity) {
			t.Errorf("%s: the section does not name it as %s:\n%s", a.Name, a.Labels.Severity, text)
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
