package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// TestWhatPythonLostShowsEverywhere has a process anchor a shard without
// reading it, and then a Python leader, which begins at the tip and stores a
// checkpoint. The log, the metric and the status show the same interval between
// the two, once; what comes after is queued.
func TestWhatPythonLostShowsEverywhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.put(t, 0) // only the stream
	first := start(t, intoZooKeeper(c.endpoint, c.hosts, "--start-at", "latest")...)
	eventually(t, "the shard is anchored", func() bool {
		return strings.Contains(c.gerritstream(t, 0, "checkpoint", "show", "-o", "json"), `"position":{"from"`)
	})
	stop(t, first)
	c.put(t, 2) // the first is passed by Python, the second is handled
	python := peers.StartCandidate(t, peers.KazooOptions{Hosts: c.hosts})
	shard, second := c.place(2)
	if err := python.WriteCheckpoint(t, zuulRoot+"/checkpoint-aws_kinesis_"+shard, second); err != nil {
		t.Fatal(err)
	}
	python.Stop(t)

	p := start(t, intoZooKeeper(c.endpoint, c.hosts)...)
	c.put(t, 2)
	c.takes(t, 3, 4)
	var lost []interval
	eventually(t, "the loss is in the status", func() bool {
		lost = lostIn(t, c)
		return len(lost) == 1
	})
	if i := lost[0]; i.Why != "Python led from LATEST" || i.From.IsZero() || !i.From.Before(i.Until) {
		t.Errorf("the status shows %+v", i)
	}
	contains(t, c.gerritstream(t, 0, "status", "-o", "wide"),
		"trouble: Records that arrived from "+lost[0].From.UTC().Format(time.DateTime)+" UTC until "+
			lost[0].Until.UTC().Format(time.DateTime)+" UTC may be lost (shard 0: Python led from LATEST)")
	if lines := lossLines(p.log(t)); len(lines) != 1 ||
		!strings.Contains(lines[0], lost[0].Until.UTC().Format("2006-01-02T15:04:05")) {
		t.Errorf("logged %q", lines)
	}
	contains(t, metricsOf(t, p), `gerritstream_possibly_lost_intervals_total{why="Python led from LATEST"} 1`)

	stop(t, p)
	again := start(t, intoZooKeeper(c.endpoint, c.hosts)...)
	c.put(t, 1)
	c.takes(t, 5, 5)
	if lines := lossLines(again.log(t)); len(lines) != 0 || len(lostIn(t, c)) != 1 {
		t.Errorf("it is reported again: %q", lines)
	}
}

type interval struct {
	From, Until time.Time
	Why         string
}

// lostIn returns what the status shows of the only shard.
func lostIn(t *testing.T, c *cluster) []interval {
	t.Helper()
	var s struct {
		Shards []struct {
			Lost []interval `json:"possibly_lost"`
		} `json:"shards"`
	}
	if err := json.Unmarshal([]byte(c.gerritstream(t, 0, "status", "-o", "json")), &s); err != nil ||
		len(s.Shards) != 1 {
		t.Fatalf("the status has %d shards, %v", len(s.Shards), err)
	}
	return s.Shards[0].Lost
}

// lossLines returns the lines of a log that report a loss.
func lossLines(log []byte) (lines []string) {
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "records may have been lost") {
			lines = append(lines, line)
		}
	}
	return lines
}

// metricsOf returns the metrics of a process.
func metricsOf(t *testing.T, p *program) string {
	t.Helper()
	at := regexp.MustCompile(`"admin":"([^"]+)"`).FindSubmatch(p.log(t))
	if at == nil {
		t.Fatal("the log has no address of the metrics")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+string(at[1])+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
