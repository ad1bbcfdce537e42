//go:build installed

package installed

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dashboard is what of a dashboard asks Prometheus.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr, RefID string }
	}
	Annotations struct{ List []struct{ Name, Expr string } }
	Templating  struct {
		List []struct {
			Name, Type string
			Query      any
		}
	}
}

// without are the panels' queries, by title and letter, that a ZooKeeper
// store without fan-out, consumers and webhooks has nothing for.
var without = regexp.MustCompile(`^(Consumers: .*|Attempts|Attempt time.*|Failing for|` +
	`SQLite's write-ahead log|Events that expired B)\b`)

// onlyInTrouble is what is empty while all is well.
const onlyInTrouble = "What is named as wrong"

// dashboard sends each query of the dashboard that the package has installed to
// Prometheus, as Grafana does.
func (w *walk) dashboard(t *testing.T, _ chapter) { w.queries(t, false) }

func (w *walk) queries(t *testing.T, afterTrouble bool) {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(w.do(t, "cat /usr/share/gerritstream/grafana/gerritstream.json")), &d); err != nil {
		t.Fatal(err)
	}
	connections := w.variable(t, d)
	sent := 0
	send := func(title, expr string) {
		sent++
		expr = strings.NewReplacer("$connection", connections, "$__rate_interval", "1m0s").Replace(expr)
		if strings.Contains(expr, "$") {
			t.Errorf("%s: a variable is left in %s", title, expr)
		}
		empty := without.MatchString(title) || !afterTrouble && strings.HasPrefix(title, onlyInTrouble)
		if !empty { // a rate takes two looks
			eventually(t, title+" has data: "+expr, func() bool { return w.query(t, expr) > 0 })
		} else if n := w.query(t, expr); n > 0 {
			t.Errorf("%s: %d series, want none: %s", title, n, expr)
		}
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			send(p.Title+" "+target.RefID, target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		send(a.Name, a.Expr)
	}
	if sent < 40 {
		t.Errorf("the dashboard has only %d queries: are they still found?", sent)
	}
}

// variable returns the value of the dashboard's $connection when all are
// chosen: the names that its query finds, as alternatives.
func (w *walk) variable(t *testing.T, d dashboard) string {
	t.Helper()
	for _, v := range d.Templating.List {
		query, _ := v.Query.(map[string]any)
		text, _ := query["query"].(string)
		m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(text)
		if v.Name != "connection" || m == nil {
			continue
		}
		var answer struct{ Data []string }
		err := json.Unmarshal([]byte(w.do(t, `curl -sSfG "http://127.0.0.1:9090/api/v1/label/$2/values" `+
			`--data-urlencode "match[]=$1"`, m[1], m[2])), &answer)
		if err != nil || len(answer.Data) != 1 || answer.Data[0] != "gerrit" {
			t.Fatalf("the variable may be %q (%v)", answer.Data, err)
		}
		return "(" + strings.Join(answer.Data, "|") + ")"
	}
	t.Fatalf("no variable asks for connections: %+v", d.Templating)
	return ""
}

// query returns how many series a query has within the last five minutes.
func (w *walk) query(t *testing.T, expr string) int {
	t.Helper()
	now := time.Now().Unix()
	out := w.do(t, `curl -sSG http://127.0.0.1:9090/api/v1/query_range --data-urlencode "query=$1" -d "$2"`,
		expr, fmt.Sprintf("start=%d&end=%d&step=5", now-5*60, now))
	var answer struct {
		Status, Error string
		Data          struct{ Result []any }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %s (%v)", expr, out, err)
	}
	return len(answer.Data.Result)
}
