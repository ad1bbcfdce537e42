package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// What promises to be on /metrics.
var naming = []string{"deploy/prometheus/alerts.yml", "deploy/grafana/gerritstream.json"}

// repositoryFile returns a file by its path from the root.
func repositoryFile(ts *testscript.TestScript, path string) string {
	text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(path)))
	ts.Check(err)
	return string(text)
}

var (
	recording = regexp.MustCompile(`\b\w+:(gerritstream_\w+):\w+`)
	selector  = regexp.MustCompile(`\b((?:gerritstream|process)_[a-z_]+)\b(\{[^}]*\})?`)
	matcher   = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
	grouping  = regexp.MustCompile(`\b(?:by|on|group_left) \(([a-z_, ]+)\)`)
	exposed   = regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? \S+$`)
)

// cmdNamed checks that a process has every metric, label and value of a label
// that alerts and dashboards name, and that promtool likes its metrics.
func cmdNamed(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "named URL")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(args[0])
	ts.Check(err)
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	ts.Check(err)
	has := map[string]bool{"job": true, "instance": true} // labels of all targets; metrics; metric, label, value
	for _, m := range exposed.FindAllStringSubmatch(string(body), -1) {
		has[m[1]] = true
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			has[l[1]], has[m[1]+" "+l[1]], has[m[1]+" "+l[1]+" "+l[3]] = true, true, true
		}
	}
	count := 0
	expect := func(file, what string) {
		if count++; !has[what] {
			ts.Fatalf("%s: /metrics has no %s:\n%s", file, what, body)
		}
	}
	for _, file := range naming {
		text := strings.ReplaceAll(repositoryFile(ts, file), `\"`, `"`)
		text = recording.ReplaceAllString(text, "$1")
		for _, m := range selector.FindAllStringSubmatch(text, -1) {
			expect(file, m[1])
			for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
				expect(file, m[1]+" "+l[1])
				for value := range strings.SplitSeq(l[3], "|") {
					if !strings.ContainsAny(value, "$.*") {
						expect(file, m[1]+" "+l[1]+" "+value)
					}
				}
			}
		}
		for _, m := range grouping.FindAllStringSubmatch(text, -1) {
			for label := range strings.SplitSeq(m[1], ", ") {
				expect(file, label)
			}
		}
	}
	if count < 200 {
		ts.Fatalf("only %d things are named: are they still found?", count)
	}
	checkMetrics(ts, body)
}

func checkMetrics(ts *testscript.TestScript, body []byte) {
	if _, err := os.Stat(peers.Promtool); err != nil {
		ts.Logf("promtool is not there: %v", err)
		return
	}
	check := exec.Command(peers.Promtool, "check", "metrics") //nolint:noctx // it ends with its input
	check.Stdin = bytes.NewReader(body)
	if out, err := check.CombinedOutput(); err != nil {
		ts.Fatalf("promtool check metrics: %v\n%s", err, out)
	}
}

// outside are programs that pages name and scripts do not run.
var outside = []string{"aws", "df", "fuser", "journalctl", "systemctl", "timedatectl", "export"}

// cmdDocumented runs each indented command of a page. One may find trouble, as
// status --check does.
func cmdDocumented(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "documented PAGE")
	count := 0
	for line := range strings.Lines(repositoryFile(ts, "docs/"+args[0])) {
		command, ok := strings.CutPrefix(line, "    ")
		command = strings.TrimSpace(command)
		name, _, _ := strings.Cut(command, " ")
		if !ok || slices.Contains(outside, name) {
			continue
		}
		count++
		command = strings.ReplaceAll(command, "127.0.0.1:9419", "127.0.0.1:"+ts.Getenv("PORT"))
		if err := ts.Exec("sh", "-c", command+` || [ $? = 3 ]`); err != nil {
			ts.Fatalf("%s: %v", command, err)
		}
	}
	if count < 20 {
		ts.Fatalf("%s has only %d commands: are they still found?", args[0], count)
	}
}
