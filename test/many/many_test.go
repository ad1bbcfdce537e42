package many

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/gerritstream/gerritstream/internal/peers"
)

var (
	flagShards = flag.Int("many.shards", 0, "how many shards the stream has at first; 0: nothing is measured")
	flagStore  = flag.String("many.store", "", "zookeeper, sqlite or postgres; empty: one after the other")
	flagPoll   = flag.String("many.poll", "", "poll interval of the processes; empty: the default")
	flagRest   = flag.Duration("many.rest", time.Second, "how long the cost of idle shards is measured")
	flagQuiet  = flag.Duration("many.quiet", 0, "how long they are idle before: after a minute they are polled less")
	flagSettle = flag.Duration("many.settle", 0, "how long to wait after each step before that")
)

// patience is how long a step may take: there is no goal here.
const patience = 5 * time.Minute

// measurement goes through what happens to a deployment.
type measurement struct {
	t      *testing.T
	stream *watched
	store  store
	all    []*process
	names  int // of processes so far
	rows   [][]string
}

// store is where the processes write.
type store struct {
	name     string
	args     []string
	requests func() int // or statements that it has answered so far; nil: it does not count
}

// TestMany measures on each store, or on the chosen one.
func TestMany(t *testing.T) {
	if *flagShards == 0 {
		return // nothing is missing: `make many` measures
	}
	stores := map[string]func(*testing.T) store{"sqlite": sqlite, "zookeeper": zookeeper, "postgres": postgres}
	for name, open := range stores {
		if *flagStore == "" || *flagStore == name {
			t.Run(name, func(t *testing.T) {
				m := &measurement{t: t, stream: newWatched(t, *flagShards), store: open(t)}
				m.run()
			})
		}
	}
}

func sqlite(t *testing.T) store {
	t.Helper()
	return store{name: "sqlite", args: []string{"--store", "sqlite:" + filepath.Join(t.TempDir(), "events.db")}}
}

// received matches the number of requests in a server's report.
var received = regexp.MustCompile(`zk_packets_received\s+(\d+)`)

func zookeeper(t *testing.T) store {
	t.Helper()
	ensemble := peers.ZooKeeper(t, peers.ZooKeeperOptions{})
	chroot := peers.Chroot(t, ensemble)
	return store{
		name: "zookeeper",
		args: []string{"--store", "zookeeper://" + ensemble.Hosts() + chroot, "--connection", "gerrit"},
		requests: func() int {
			answer, err := ensemble.Servers[0].Ask(t.Context(), "mntr")
			found := received.FindStringSubmatch(answer)
			if err != nil || found == nil {
				t.Fatalf("ask ZooKeeper: %v: %s", err, answer)
			}
			n, err := strconv.Atoi(found[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		},
	}
}

func postgres(t *testing.T) store {
	t.Helper()
	server := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{Settings: map[string]string{
		"fsync": "on", "shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_utility": "on",
	}})
	server.SQL(t, "postgres", `CREATE EXTENSION pg_stat_statements`)
	return store{
		name: "postgres",
		args: []string{"--store", server.URL(server.Database(t)), "--connection", "gerrit"},
		requests: func() int {
			answer := server.SQL(t, "postgres", `SELECT sum(calls)::bigint FROM pg_stat_statements
				WHERE query NOT LIKE '%pg_stat_statements%'`)
			n, err := strconv.Atoi(strings.TrimSpace(answer))
			if err != nil {
				t.Fatal(err)
			}
			return n
		},
	}
}

func (m *measurement) run() {
	t, shards := m.t, *flagShards
	t.Cleanup(m.print)
	all := m.stream.open(t)
	var first, second *process
	m.step("first start", func() { first = m.start() }, func() bool { return m.stream.read(all)[first.key] == shards })
	m.rest("at rest, 1 process")
	m.stream.put(t)
	m.step("restart", func() { first.stop(t); first = m.start() },
		func() bool { return m.stream.read(all)[first.key] == shards })
	m.step("a second one joins", func() { second = m.start() },
		func() bool { return m.stream.read(all)[second.key] == shards/2 })
	m.rest("at rest, 2 processes")
	m.step("kill -9 of the first", first.Kill, func() bool { return m.stream.read(all)[second.key] == shards })
	m.step("one joins again", func() { first = m.start() },
		func() bool { return m.stream.read(all)[first.key] == shards/2 })
	m.stream.put(t)
	m.step(fmt.Sprintf("%d to %d shards", shards, 2*shards), func() { m.stream.resize(t, 2*shards) }, func() bool {
		by := m.stream.read(m.stream.open(t))
		return by[first.key]+by[second.key] == 2*shards
	})
	m.stream.put(t)
	m.step("the events are queued", func() {}, func() bool { return m.queued() >= m.stream.total() })
	if got, want := m.queued(), m.stream.total(); got != want {
		t.Errorf("%d events are queued, want %d", got, want)
	}
	first.stop(t)
	second.stop(t)
}

// start starts a process.
func (m *measurement) start() *process {
	m.t.Helper()
	m.names++
	args := append([]string{
		"run", "--stream", streamName, "--region", "us-east-1", "--endpoint", m.stream.endpoint, "--admin", "off",
		"--start-at", "trim-horizon",
	}, m.store.args...)
	if *flagPoll != "" {
		args = append(args, "--poll-interval", *flagPoll)
	}
	p := start(m.t, fmt.Sprintf("process%d", m.names), args...)
	m.all = append(m.all, p)
	return p
}

// queued returns how many events the queue holds.
func (m *measurement) queued() int {
	m.t.Helper()
	args := append([]string{"status", "-o", "json"}, m.store.args...)
	cmd := exec.CommandContext(m.t.Context(), peers.ProgramPath, args...)
	cmd.Env = peers.Environment()
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	var status struct {
		Queue int `json:"queue"`
	}
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil {
		m.t.Fatalf("status: %v: %.1000s%.1000s", err, out, complaint.Bytes())
	}
	return status.Queue
}

// sample is what was used until a moment.
type sample struct {
	at       time.Time
	used     map[*process]usage
	calls    map[string]int
	requests int
}

func (m *measurement) sample() sample {
	s := sample{at: time.Now(), used: map[*process]usage{}, calls: m.stream.counted()}
	for _, p := range m.all {
		s.used[p] = p.usage()
	}
	if m.store.requests != nil {
		s.requests = m.store.requests()
	}
	return s
}

// step measures from the beginning of do until done.
func (m *measurement) step(name string, do func(), done func() bool) {
	m.t.Helper()
	before := m.sample()
	do()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !done(); {
		select {
		case <-tick.C:
		case <-deadline:
			m.t.Fatalf("%s: not done after %v", name, patience)
		}
	}
	m.add(name, before, m.sample())
	<-time.After(*flagSettle)
}

// rest measures for a while in which nothing happens.
func (m *measurement) rest(name string) {
	m.t.Helper()
	<-time.After(*flagQuiet)
	before := m.sample()
	<-time.After(*flagRest)
	m.add(name, before, m.sample())
}

// add adds a row to the table.
func (m *measurement) add(name string, before, after sample) {
	var cpu time.Duration
	var memory []string
	for _, p := range m.all {
		u := after.used[p]
		if u.rss == 0 {
			continue
		}
		cpu += u.cpu - before.used[p].cpu
		memory = append(memory, fmt.Sprintf("%d/%d", u.rss/1e6, u.peak/1e6))
	}
	took := after.at.Sub(before.at).Seconds()
	requests := "-"
	if m.store.requests != nil {
		requests = strconv.Itoa(after.requests - before.requests)
	}
	row := []string{
		name, fmt.Sprintf("%.1f", took), fmt.Sprintf("%.2f", cpu.Seconds()),
		fmt.Sprintf("%.0f%%", 100*cpu.Seconds()/took),
		strings.Join(memory, " "), requests, difference(before.calls, after.calls),
	}
	m.rows = append(m.rows, row)
	m.t.Log(strings.Join(row, " | "))
}

// print prints the table.
func (m *measurement) print() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	write := func(cells ...string) { fmt.Fprintf(w, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	write(m.store.name, "s", "CPU s", "of a core", "MB now/peak", "requests", "Kinesis")
	write("---", "---", "---", "---", "---", "---", "---")
	for _, row := range m.rows {
		write(row...)
	}
	_ = w.Flush()
	m.t.Logf("%d shards\n%s", *flagShards, b.String())
}
