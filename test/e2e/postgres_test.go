package e2e

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// pgSchema is the schema of the connection gerrit.
const pgSchema = "gerritstream_gerrit"

// pgCluster is some processes that queue into PostgreSQL, under traffic. They
// are looked at through psql.
type pgCluster struct {
	primary   *peers.PostgreSQLServer
	database  string
	endpoint  string
	flow      *flow
	processes []*program
}

// newPgCluster starts traffic on a stream.
func newPgCluster(t *testing.T, primary *peers.PostgreSQLServer, seed uint64) *pgCluster {
	t.Helper()
	endpoint := emulateWith(t, "--stream", streamName, "--shards", "4")
	c := &pgCluster{primary: primary, database: "postgres", endpoint: endpoint}
	c.flow = startFlow(t, newTraffic(seed), peers.Putter{
		Endpoint: c.endpoint, Stream: streamName, Batch: 10, Pause: 50 * time.Millisecond,
	})
	eventually(t, "traffic flows", func() bool { return c.flow.made.Load() > 20 })
	return c
}

// join starts a process that knows some addresses of the database.
func (c *pgCluster) join(t *testing.T, addrs ...string) {
	t.Helper()
	c.processes = append(c.processes, start(t,
		"run", "--stream", streamName, "--region", "us-east-1", "--endpoint", c.endpoint, "--start-at", "trim-horizon",
		"--store", peers.PostgreSQLURL(c.database, "disable&target_session_attrs=read-write", addrs...),
		"--admin", "off"))
}

// queued counts the events; 0: there is no table yet.
func (c *pgCluster) queued(t *testing.T) int {
	t.Helper()
	if c.primary.SQL(t, c.database, "SELECT to_regclass('"+pgSchema+".events') IS NULL") == "t" {
		return 0
	}
	n, err := strconv.Atoi(c.primary.SQL(t, c.database, "SELECT count(*) FROM "+pgSchema+".events"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// goesOn waits until more is queued.
func (c *pgCluster) goesOn(t *testing.T, after string) {
	t.Helper()
	before := c.queued(t)
	eventually(t, "queued after "+after, func() bool { return c.queued(t) > before+20 })
}

// killLeader kills the process that leads the most shards, and returns which.
func (c *pgCluster) killLeader(t *testing.T) (which int) {
	t.Helper()
	which = -1
	eventually(t, "a process leads", func() bool {
		names := c.primary.SQL(t, c.database, "SELECT p.name FROM "+pgSchema+".leases l JOIN "+pgSchema+
			".processes p ON p.id = l.process GROUP BY p.name ORDER BY count(*) DESC")
		for name := range strings.Lines(names) { // HOST-PID-START, of those that died as well
			for i, p := range c.processes {
				if strings.Contains(name, "-"+strconv.Itoa(p.Process.Pid)+"-") && which < 0 {
					which = i
				}
			}
		}
		return which >= 0
	})
	c.processes[which].signal(t, syscall.SIGKILL)
	c.processes[which].wait(t, stopLimit)
	return which
}

// items reads a table as psql shows it.
func (c *pgCluster) items(t *testing.T, table, sum string) (items []history.Item) {
	t.Helper()
	out := c.primary.SQL(t, c.database, "SELECT shard, seq, sub, encode("+sum+", 'hex') FROM "+pgSchema+"."+table+
		" ORDER BY n")
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "|")
		sub, err := strconv.Atoi(f[2])
		sha, failed := hex.DecodeString(f[3])
		if err != nil || failed != nil {
			t.Fatal(line, err, failed)
		}
		items = append(items, history.Item{
			Shard: gerritstream.ShardID(f[0]), Seq: gerritstream.SequenceNumber(f[1]), Sub: sub,
			Sum: hex.EncodeToString(sha)[:len(history.Sum(nil))],
		})
	}
	return items
}

// end stops the traffic and the processes, once everything is queued, and
// judges.
func (c *pgCluster) end(t *testing.T) {
	t.Helper()
	puts := c.flow.end(t)
	eventually(t, "everything is queued", func() bool { return c.queued(t) >= count(puts, gerrittest.Queued) })
	for _, p := range c.processes {
		stop(t, p)
	}
	judge(t, puts, c.items(t, "events", "sha256(payload)"), c.items(t, "dead_letters", "sha256"))
}

// TestPostgreSQLServesManyProcesses through kills of them and restarts of the
// server; one of them, and its successors, reach it through PgBouncer.
func TestPostgreSQLServesManyProcesses(t *testing.T) {
	t.Parallel()
	server := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	pooled := peers.StartPgBouncer(t, server.Addr())
	c := newPgCluster(t, server, 11)
	addrs := []string{server.Addr(), pooled.Addr(), server.Addr()}
	for _, addr := range addrs {
		c.join(t, addr)
	}
	c.goesOn(t, "the start")
	for range 3 {
		i := c.killLeader(t)
		addr := addrs[i]
		c.processes = append(c.processes[:i], c.processes[i+1:]...)
		addrs = append(append(addrs[:i:i], addrs[i+1:]...), addr)
		c.goesOn(t, "a leader was killed")
		c.join(t, addr)
	}
	server.Restart(t, peers.Fast)
	c.goesOn(t, "a fast restart")
	server.Restart(t, peers.Immediate)
	c.goesOn(t, "an immediate restart")
	server.Kill(t)
	server.Start(t)
	c.goesOn(t, "a crash")
	pooled.Restart(t)
	c.goesOn(t, "a restart of PgBouncer")
	c.end(t)
}

// TestPostgreSQLFailsOver under traffic. A synchronous standby has all that was
// confirmed. An asynchronous one lacks the last events, and the positions that
// go with them: they are read again.
func TestPostgreSQLFailsOver(t *testing.T) {
	t.Parallel()
	for name, synchronous := range map[string]bool{"synchronous": true, "asynchronous": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
			link := peers.NewLink(t, first.Addr())
			second := peers.StartStandby(t, first, peers.StandbyOptions{Via: link.Addr(), Synchronous: synchronous})
			c := newPgCluster(t, first, 12)
			for range 3 {
				c.join(t, first.Addr(), second.Addr())
			}
			c.goesOn(t, "the start")
			var before int
			number := func() string {
				return c.primary.SQL(t, c.database, "SELECT coalesce(max(n), 0) FROM "+pgSchema+".events")
			}
			if synchronous {
				standbyIsRead(t, peers.PostgreSQLURL(c.database, "disable", second.Addr()))
			} else {
				link.Hold(peers.Both) // the standby gets no more
				c.goesOn(t, "the standby is cut off")
				before = c.queued(t)
			}
			seen := number()
			first.Kill(t)
			link.Drop()
			c.primary = second
			held := number()
			if now := c.queued(t); !synchronous && now >= before { // nobody can write to it yet
				t.Errorf("the standby has %d events of %d: nothing is to be rolled back", now, before)
			}
			second.Promote(t)
			c.goesOn(t, "the standby was promoted")
			if n := second.SQL(t, c.database, "SELECT count(*) FROM "+pgSchema+".events WHERE n > "+held+
				" AND n <= "+seen); n != "0" {
				t.Errorf("%s events have numbers between %s and %s, which readers have passed", n, held, seen)
			}
			c.end(t)
		})
	}
}

// standbyIsRead checks that commands that read take a standby, and that those
// that write say in one line why they do not.
func standbyIsRead(t *testing.T, store string) {
	t.Helper()
	eventually(t, "a standby has the shards", func() bool { return len(readStatusOf(t, store).Shards) > 0 })
	for _, reads := range [][]string{{"tail", "-n", "2", "--stop"}, {"queue", "ls"}} {
		out, code := run(t, append(reads, "--store", store)...)
		// More events come while it runs.
		if lines := bytes.Count(out, []byte("\n")); code != 0 || reads[0] == "tail" && lines < 2 {
			t.Errorf("%q on a standby: exit code %d, %d lines", reads, code, lines)
		}
	}
	for _, writes := range [][]string{
		{"run", "--stream", streamName, "--region", "us-east-1"},
		{"queue", "read", "--consumer", "c", "--create", "first"},
		{"deadletter", "ls"},
	} {
		p := start(t, append(writes, "--store", store)...)
		code, said := p.wait(t, patience), strings.TrimSpace(string(p.log(t)))
		if code != 78 || !strings.Contains(said, "the server is read-only, such as a standby: name the primary") ||
			strings.Contains(said, "\n") {
			t.Errorf("%q on a standby: exit code %d: %s", writes, code, said)
		}
	}
}
