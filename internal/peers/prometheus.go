package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Promtool is Debian's promtool.
const Promtool = "/usr/bin/promtool"

const prometheusCommand = "/usr/bin/prometheus"

// Prometheus is Debian's Prometheus, with promtool.
var Prometheus = Component{"prometheus", apt + "prometheus", missingFile(Promtool)}

// PrometheusServer is a running Prometheus. One goroutine uses it.
type PrometheusServer struct {
	address string
	client  *http.Client
}

// PrometheusOptions configures a Prometheus.
type PrometheusOptions struct {
	Targets []string      // HOST:PORT of what is scraped
	Rules   string        // the text of a file of rules
	Every   time.Duration // whole seconds from one scrape, and one evaluation, to the next
}

// StartPrometheus starts Debian's Prometheus on a free loopback port, and
// returns once it is ready. The test's end kills it.
func StartPrometheus(tb testing.TB, o PrometheusOptions) *PrometheusServer {
	tb.Helper()
	Require(tb, Prometheus)
	dir := tb.TempDir()
	every := int(o.Every / time.Second)
	config := fmt.Sprintf("global: {scrape_interval: %ds, scrape_timeout: %ds, evaluation_interval: %ds}\n"+
		"rule_files: [rules.yml]\nscrape_configs:\n- job_name: tested\n  static_configs:\n  - targets: [%s]\n",
		every, every, every, strings.Join(o.Targets, ", "))
	for name, text := range map[string]string{"prometheus.yml": config, "rules.yml": o.Rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	listener, err := listen("127.0.0.1", 0)
	if err != nil {
		tb.Fatal(err)
	}
	p := &PrometheusServer{address: listener.Addr().String(), client: &http.Client{Timeout: startTimeout}}
	_ = listener.Close() // for Prometheus
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), prometheusCommand,
		"--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = log, log
	server, err := startChild(cmd, "")
	_ = log.Close()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("Prometheus' log:\n%s", tail(log.Name()))
		}
		server.kill()
		p.client.CloseIdleConnections()
	})
	tick := time.NewTicker(poll)
	defer tick.Stop()
	deadline := time.After(startTimeout)
	for {
		err := p.get(tb, "/-/ready", nil)
		if err == nil {
			return p
		}
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("Prometheus is not ready: %v", err)
		}
	}
}

// PrometheusAlert is an alert that Prometheus has raised.
type PrometheusAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"` // "pending" or "firing"
}

// Alerts returns the alerts that are pending or firing.
func (p *PrometheusServer) Alerts(tb testing.TB) []PrometheusAlert {
	tb.Helper()
	var answer struct {
		Data struct {
			Alerts []PrometheusAlert `json:"alerts"`
		} `json:"data"`
	}
	if err := p.get(tb, "/api/v1/alerts", &answer); err != nil {
		tb.Fatal(err)
	}
	return answer.Data.Alerts
}

// Up returns how many targets answered when they were last scraped.
func (p *PrometheusServer) Up(tb testing.TB) (n int) {
	tb.Helper()
	var answer struct {
		Data struct {
			Active []struct {
				Health string `json:"health"`
			} `json:"activeTargets"`
		} `json:"data"`
	}
	if err := p.get(tb, "/api/v1/targets", &answer); err != nil {
		tb.Fatal(err)
	}
	for _, target := range answer.Data.Active {
		if target.Health == "up" {
			n++
		}
	}
	return n
}

// get asks for a path, and decodes the answer unless it is nil.
func (p *PrometheusServer) get(tb testing.TB, path string, answer any) error {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask Prometheus: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ask Prometheus for %s: %s", path, res.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(answer)
}
