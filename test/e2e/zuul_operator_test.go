package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// cluster is a stream of one shard, and the ZooKeeper it is read into.
type cluster struct {
	endpoint, hosts string
	reader          *peers.Reader
	putter          peers.Putter
	puts            []peers.Put // of all numbered events, in the shard's order
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	peers.Require(t, peers.Boto3)
	c := &cluster{endpoint: emulate(t), hosts: sharedZooKeeper(t)}
	c.putter = peers.Putter{Endpoint: c.endpoint, Stream: streamName, Create: 1}
	c.reader = peers.StartReader(t, peers.KazooOptions{Hosts: c.hosts}, zuulRoot)
	return c
}

// put puts the next n numbered events.
func (c *cluster) put(t *testing.T, n int) {
	t.Helper()
	var events []peers.Event
	for range n {
		events = append(events,
			peers.Event{Key: "k", Data: fmt.Appendf(nil, `{"type":"change-merged","n":%d}`, len(c.puts)+len(events)+1)})
	}
	c.puts = append(c.puts, c.putter.Put(t, events)...)
	c.putter.Create = 0 // the stream is there
}

// takes takes numbered events from the queue as Zuul does: from first to last,
// in order, and nothing else.
func (c *cluster) takes(t *testing.T, first, last int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	left := last - first + 1
	pass, err := c.reader.Follow(ctx, func(peers.QueuedEvent) bool { left--; return left == 0 })
	if err != nil {
		t.Fatalf("Zuul waits for %d events: %v", left, err)
	}
	var got, want []string
	for _, e := range pass.Events {
		got = append(got, string(e.Payload))
	}
	for n := first; n <= last; n++ {
		want = append(want, fmt.Sprintf(`{"type":"change-merged","n":%d}`, n))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("Zuul takes %q, want %q", got, want)
	}
}

// store is the --store of commands.
func (c *cluster) store() string { return "zookeeper://" + c.hosts }

// gerritstream runs a command on the store and returns its output.
func (c *cluster) gerritstream(t *testing.T, want int, args ...string) string {
	t.Helper()
	out, code := run(t, append(args, "--store", c.store())...)
	if code != want {
		t.Fatalf("%q: exit code %d, want %d\n%s", args, code, want, out)
	}
	return string(out)
}

// set runs `checkpoint set`.
func (c *cluster) set(t *testing.T, args ...string) string {
	t.Helper()
	return c.gerritstream(t, 0, append([]string{"checkpoint", "set", "--stream", streamName, "--region", "us-east-1",
		"--endpoint", c.endpoint}, args...)...)
}

// contains checks that an output has each of these texts.
func contains(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("%q is not in\n%s", text, out)
		}
	}
}

// place returns where the n-th numbered event is.
func (c *cluster) place(n int) (shard, sequence string) {
	return c.puts[n-1].Shard, c.puts[n-1].SequenceNumber
}

// positionIs waits for the position after the n-th event, in our node and in
// Zuul's.
func (c *cluster) positionIs(t *testing.T, n int) {
	t.Helper()
	shard, sequence := c.place(n)
	eventually(t, "the position is stored", func() bool {
		return strings.Contains(c.gerritstream(t, 0, "checkpoint", "show", "-o", "json"),
			`"position":{"after":"`+sequence+`"`)
	})
	checkpoints, err := c.reader.Checkpoints(t.Context())
	if err != nil || checkpoints[shard].Sequence != sequence {
		t.Errorf("Zuul's checkpoint is %+v, %v, want %s", checkpoints[shard], err, sequence)
	}
}

// TestCheckpointSetForZuul sets a shard's position back and forth, while a
// process runs and while none does: what is read again enters Zuul's queue
// again, in order, and what is skipped does not, and is on record.
func TestCheckpointSetForZuul(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.put(t, 10)
	p := start(t, intoZooKeeper(c.endpoint, c.hosts)...)
	c.takes(t, 1, 10)
	c.positionIs(t, 10)

	contains(t, c.set(t, "--all", "--to", "trim-horizon", "--dry-run"),
		"would be read and queued again", "Zuul handles each of these events again")
	c.positionIs(t, 10)
	contains(t, c.set(t, "--all", "--to", "trim-horizon", "--yes"), "-> trim horizon", "will be read and queued again")
	c.takes(t, 1, 10)
	c.put(t, 2)
	c.takes(t, 11, 12)

	shard, sixth := c.place(6)
	contains(t, c.set(t, "--shard", shard, "--to", sixth, "--yes"), "-> after "+sixth)
	c.takes(t, 7, 12)
	c.positionIs(t, 12)

	stop(t, p)
	c.put(t, 5)
	_, fifteenth := c.place(15)
	contains(t, c.set(t, "--shard", shard, "--to", fifteenth, "--yes"), "were not handled will be skipped",
		"possibly lost (set by operator)")
	c.positionIs(t, 15)
	start(t, intoZooKeeper(c.endpoint, c.hosts)...)
	c.takes(t, 16, 17)
	c.positionIs(t, 17)
	if s := readStatusOf(t, c.store()); len(s.Shards) != 1 || len(s.Shards[0].Lost) != 1 {
		t.Errorf("what was skipped is not in the status: %+v", s.Shards)
	}
	contains(t, c.gerritstream(t, 0, "checkpoint", "prune", "--yes", "--stream", streamName, "--region", "us-east-1",
		"--endpoint", c.endpoint),
		"Nothing to remove.")
}

// TestDeadlettersForZuul lists dead letters, redrives one and drops another,
// while a process runs.
func TestDeadlettersForZuul(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.put(t, 1)
	bad := c.putter.Put(t, []peers.Event{{Key: "k", Data: []byte(`["no event"]`)}})
	start(t, intoZooKeeper(c.endpoint, c.hosts)...)
	c.takes(t, 1, 1)
	eventually(t, "it is a dead letter", func() bool { return readStatusOf(t, c.store()).DeadLetters == 1 })
	sound := c.deadLetter(t, []byte(`{"type":"change-merged","n":2}`))
	contains(t, c.gerritstream(t, 0, "deadletter", "list"), "shape", bad[0].Shard, "no-more", sound.String())
	contains(t, c.gerritstream(t, 0, "deadletter", "show", sound.String(), "--payload"),
		`{"type":"change-merged","n":2}`)

	contains(t, c.gerritstream(t, 1, "deadletter", "retry", "--all", "--yes"), sound.String()+": queued",
		": refused: shape", "1 queued, 1 refused")
	pass, err := c.reader.Drain(t.Context())
	if err != nil || len(pass.Events) != 1 || pass.Events[0].EventID != sound.String() {
		t.Errorf("Zuul takes %+v, %v", pass.Events, err)
	}
	if s := readStatusOf(t, c.store()); s.DeadLetters != 1 || s.Queue != 0 {
		t.Errorf("the status is %+v", s)
	}
	contains(t, c.gerritstream(t, 0, "deadletter", "drop", "--all", "--yes"), "1 dead letter dropped")
	contains(t, c.gerritstream(t, 0, "deadletter", "list"), "no dead letters")
	c.puts = append(c.puts, peers.Put{}) // the second was never in the stream
	c.put(t, 1)
	c.takes(t, 3, 3)
}

// deadLetter makes a dead letter of a sound record, as an older version with
// stricter rules might have left.
func (c *cluster) deadLetter(t *testing.T, payload []byte) gerritstream.EventID {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, chroot, _ := strings.Cut(c.hosts, "/")
	store, err := zookeeper.Open(ctx,
		zookeeper.Config{Hosts: []string{server}, Chroot: "/" + chroot, Connection: "gerrit"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close(ctx) }()
	const shard = "shardId-000000000099"
	term, err := store.Campaign(ctx, 0, shard)
	if err != nil {
		t.Fatal(err)
	}
	d := gerritstream.DeadLetter{
		ID: gerritstream.EventID{1, 2, 3}, Shard: shard,
		Seq: "49590338271490256608559692538361571095921575989136588898",
		Sub: gerritstream.NoSub, Arrived: time.Now().Add(-time.Minute), Reason: "no-more", Payload: payload,
		Length: len(payload),
		SHA256: sha256.Sum256(payload),
	}
	pos := gerritstream.Position{After: d.Seq, Arrived: d.Arrived, Ended: true}
	if err := term.Commit(ctx,
		gerritstream.Commit{Position: pos, DeadLetters: []gerritstream.DeadLetter{d}}); err != nil {
		t.Fatal(err)
	}
	return d.ID
}

// TestStatusTellsZuulApart has a Python leader before ours: `status` shows who
// leads, which processes run, and the length of Zuul's queue.
func TestStatusTellsZuulApart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	python := peers.StartCandidate(t, peers.KazooOptions{Hosts: c.hosts})
	const election = zuulRoot + "/election-aws_kinesis_shardId-000000000000"
	python.Campaign(t, election, "")
	python.AwaitLead(t, election)
	for range 3 {
		python.Put(t, zuulRoot, json.RawMessage(`{"type":"change-merged"}`))
	}
	c.put(t, 5)
	p := start(t, intoZooKeeper(c.endpoint, c.hosts)...)
	var s status
	eventually(t, "the process shows as a candidate", func() bool {
		s = readStatusOf(t, c.store())
		return len(s.Processes) == 1 && len(python.Candidates(t, election)) == 2
	})
	if len(s.Shards) != 1 || s.Shards[0].Leader != "Zuul (Python)" || !s.Shards[0].Foreign || s.Queue != 3 ||
		s.leads(p) != 0 {
		t.Errorf("the status is %+v", s)
	}
	contains(t, c.gerritstream(t, 0, "status", "--check"), "read by Zuul (Python)",
		"queue        3 of 10,000 events", "processes    "+s.Processes[0].Process)
	if _, err := c.reader.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.set(t, "--all", "--to", "trim-horizon", "--yes") // one of ours is next
	python.Resign(t, election)
	c.takes(t, 1, 5)
	if s = readStatusOf(t, c.store()); s.leads(p) != 1 || s.Shards[0].Foreign {
		t.Errorf("the status is %+v", s)
	}

	python.Campaign(t, election, "") // it would be next, and cannot take a time
	eventually(t, "Python is a candidate", func() bool { return len(python.Candidates(t, election)) == 2 })
	c.gerritstream(t, 1, "checkpoint", "set", "--stream", streamName, "--region", "us-east-1", "--endpoint", c.endpoint,
		"--all", "--to", "trim-horizon", "--dry-run")
}
