//go:build alerts

// It takes 40 s and an idle machine: make alerts.

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// adminOf returns where a process serves its metrics.
func adminOf(t *testing.T, p *program) (address string) {
	t.Helper()
	eventually(t, "the process logs its address", func() bool {
		at := regexp.MustCompile(`"admin":"([^"]+)"`).FindSubmatch(p.log(t))
		if at != nil {
			address = string(at[1])
		}
		return at != nil
	})
	return address
}

// hasty returns the alerts, for people who wait seconds where others wait
// minutes.
func hasty(t *testing.T) string {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join("..", "..", "deploy", "prometheus", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(for: \d+)m\b`).ReplaceAllString(string(rules), "${1}s")
}

// TestAlertsOfAnOutage has Debian's Prometheus watch three processes. While
// ZooKeeper is away it raises GerritstreamStoreAway, once all processes are
// gone GerritstreamAllProcessesGone, and never another alert.
func TestAlertsOfAnOutage(t *testing.T) {
	peers.Require(t, peers.Prometheus, peers.Boto3)
	zk := peers.ZooKeeper(t, peers.ZooKeeperOptions{})
	hosts := zk.Hosts() + peers.Chroot(t, zk)
	endpoint := emulateWith(t, "--stream", streamName, "--shards", "4")
	var programs []*program
	var targets []string
	for range 3 {
		p := start(t, intoZooKeeper(endpoint, hosts)...)
		programs, targets = append(programs, p), append(targets, adminOf(t, p))
	}
	prometheus := peers.StartPrometheus(t, peers.PrometheusOptions{
		Targets: targets, Rules: hasty(t), Every: 3 * time.Second,
	})
	raised := map[string]bool{}
	firing := func() (names []string) {
		for _, a := range prometheus.Alerts(t) {
			if a.State == "firing" {
				names = append(names, a.Labels["alertname"])
			}
		}
		slices.Sort(names)
		for _, name := range names {
			raised[name] = true
		}
		return slices.Compact(names)
	}
	is := func(names ...string) func() bool {
		return func() bool { return slices.Equal(firing(), names) }
	}
	eventually(t, "the three are scraped", func() bool { return prometheus.Up(t) == 3 })
	eventually(t, "all is well", is())
	clear(raised) // before the first scrape nobody was there

	zk.Servers[0].Kill(t)
	began := time.Now()
	eventually(t, "ZooKeeper is missed", is("GerritstreamStoreAway"))
	t.Logf("GerritstreamStoreAway after %v", time.Since(began).Round(time.Second))
	stays := time.Now()
	eventually(t, "ten seconds pass", func() bool { firing(); return time.Since(stays) > 10*time.Second })
	zk.Servers[0].Start(t)
	zk.Await(t)
	began = time.Now()
	eventually(t, "ZooKeeper is back", is())
	t.Logf("none any more after %v", time.Since(began).Round(time.Second))
	for _, p := range programs {
		stop(t, p)
	}
	eventually(t, "the processes are missed", is("GerritstreamAllProcessesGone"))

	var names []string
	for name := range raised {
		names = append(names, name)
		for _, a := range prometheus.Alerts(t) {
			if !strings.HasPrefix(a.Annotations["runbook_url"], "https://") || a.Annotations["summary"] == "" {
				t.Errorf("%s has no summary or runbook: %v", name, a)
			}
		}
	}
	slices.Sort(names)
	if want := []string{"GerritstreamAllProcessesGone", "GerritstreamStoreAway"}; !slices.Equal(names, want) {
		t.Errorf("raised %q, want %q", names, want)
	}
}
