package peers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream/internal/peers"
)

const (
	electionPath   = root + "/election-aws_kinesis_shardId-000000000000"
	checkpointPath = root + "/checkpoint-aws_kinesis_shardId-000000000000"
)

// lockNodes returns the lock nodes of an election, by number.
func (q *queue) lockNodes(t *testing.T) []string {
	t.Helper()
	nodes, _, err := q.conn.Children(q.chroot + electionPath)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		t.Fatal(err)
	}
	slices.SortFunc(nodes, func(a, b string) int { return strings.Compare(a[len(a)-10:], b[len(b)-10:]) })
	return nodes
}

func (q *queue) awaitLockNodes(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() error {
		if got := q.lockNodes(t); len(got) != n {
			return fmt.Errorf("%d lock nodes, want %d", len(got), n)
		}
		return nil
	})
}

func (q *queue) get(t *testing.T, path string) string {
	t.Helper()
	data, _, err := q.conn.Get(q.chroot + path)
	if err != nil {
		t.Fatalf("get %s: %v", path, err)
	}
	return string(data)
}

func TestCandidatesLeadOneAfterTheOther(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	first, second := peers.StartCandidate(t, q.kazoo), peers.StartCandidate(t, q.kazoo)
	first.Campaign(t, electionPath, "first")
	if node := first.AwaitLead(t, electionPath); !slices.Equal(q.lockNodes(t), []string{node}) {
		t.Errorf("%s leads, the nodes are %q", node, q.lockNodes(t))
	}
	second.CampaignByLock(t, electionPath, "second")
	q.awaitLockNodes(t, 2)
	first.Campaign(t, electionPath+"9", "another shard")
	first.AwaitLead(t, electionPath+"9")
	if second.Leads(t, electionPath) || !first.Leads(t, electionPath) {
		t.Error("the second leads beside the first")
	}
	if got := first.Candidates(t, electionPath); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("candidates: %q", got)
	}
	first.Resign(t, electionPath)
	second.AwaitLead(t, electionPath)
	if first.Leads(t, electionPath) {
		t.Error("the first believes that it leads after it resigned")
	}
	// A waiting candidate resigns as well, and comes back as the last one.
	first.Campaign(t, electionPath, "first again")
	q.awaitLockNodes(t, 2)
	first.Resign(t, electionPath)
	q.awaitLockNodes(t, 1)
	second.Stop(t)
	q.awaitLockNodes(t, 0)
}

func TestCandidateWritesCheckpointsAsPythonDoes(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	c := peers.StartCandidate(t, q.kazoo)
	shard := 0
	for _, test := range []struct {
		name   string
		stored string // "-": nothing
		read   string // what Python reads, or its exception
		fenced bool   // a write after someone else's is refused
	}{
		{"absent", "-", "", false},
		{"undecodable", `{"checkpoint`, "", false},
		{"null", `{"checkpoint": null}`, "", true},
		{"sequence", `{"checkpoint": "7"}`, "7", true},
		{"more keys", `{"a": 1, "checkpoint": "7"}`, "7", true},
		{"no key", `{}`, "KeyError", true},
		{"list", `["7"]`, "TypeError", true},
	} {
		shard++
		path := fmt.Sprintf("%s%d", checkpointPath, shard)
		if test.stored != "-" {
			q.create(t, path, test.stored)
		}
		got, err := c.ReadCheckpoint(t, path)
		if refusal := (&peers.Refusal{}); errors.As(err, &refusal) {
			got = refusal.Exception
		}
		if got != test.read {
			t.Errorf("%s: read %q, %v, want %q", test.name, got, err, test.read)
		}
		// Someone else writes in between.
		if test.stored == "-" {
			q.create(t, path, "another's")
		} else if _, err := q.conn.Set(q.chroot+path, []byte("another's"), -1); err != nil {
			t.Fatal(err)
		}
		err = c.WriteCheckpoint(t, path, "8")
		refusal := &peers.Refusal{}
		if refused := errors.As(err, &refusal) && refusal.Exception == "BadVersionError"; refused != test.fenced {
			t.Errorf("%s: the write behind another's: %v", test.name, err)
		}
		want := `{"checkpoint": "8"}`
		if test.fenced {
			want = "another's"
		}
		if got := q.get(t, path); got != want {
			t.Errorf("%s: stored %q, want %q", test.name, got, want)
		}
		// A removed one is created, whatever its version was.
		if err := q.conn.Delete(q.chroot+path, -1); err != nil {
			t.Fatal(err)
		}
		if err := c.WriteCheckpoint(t, path, "9"); err != nil || q.get(t, path) != `{"checkpoint": "9"}` {
			t.Errorf("%s: the write after it was gone: %v", test.name, err)
		}
	}
}

func TestAFrozenCandidateBecomesAZombie(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.kazoo.SessionTimeout = time.Second
	q.create(t, checkpointPath, `{"checkpoint": "1"}`)
	zombie, heir := peers.StartCandidate(t, q.kazoo), peers.StartCandidate(t, q.kazoo)
	zombie.Campaign(t, electionPath, "zombie")
	zombie.AwaitLead(t, electionPath)
	if _, err := zombie.ReadCheckpoint(t, checkpointPath); err != nil {
		t.Fatal(err)
	}
	heir.Campaign(t, electionPath, "heir")
	q.awaitLockNodes(t, 2)
	zombie.Freeze(t)
	heir.AwaitLead(t, electionPath)
	if _, err := heir.ReadCheckpoint(t, checkpointPath); err != nil {
		t.Fatal(err)
	}
	if err := heir.WriteCheckpoint(t, checkpointPath, "2"); err != nil {
		t.Fatal(err)
	}
	zombie.Thaw(t)
	zombie.Put(t, root, json.RawMessage(`{"type":"late"}`))
	refusal := &peers.Refusal{}
	err := zombie.WriteCheckpoint(t, checkpointPath, "1")
	if !errors.As(err, &refusal) || refusal.Exception != "BadVersionError" {
		t.Errorf("the zombie's write: %v", err)
	}
	if got := q.get(t, checkpointPath); got != `{"checkpoint": "2"}` {
		t.Errorf("the checkpoint is %s", got)
	}
	if !zombie.Leads(t, electionPath) {
		t.Error("the zombie knows that it is one")
	}
	pass, err := peers.StartReader(t, q.kazoo, root).Drain(t.Context())
	if err != nil || len(pass.Events) != 1 {
		t.Errorf("%d events in the queue, %v", len(pass.Events), err)
	}
}

func TestAKilledCandidatesSessionOutlivesIt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.kazoo.SessionTimeout = time.Second
	c := peers.StartCandidate(t, q.kazoo)
	c.Campaign(t, electionPath, "killed")
	c.AwaitLead(t, electionPath)
	c.Kill()
	if n := len(q.lockNodes(t)); n != 1 {
		t.Errorf("%d lock nodes just after the kill", n)
	}
	q.awaitLockNodes(t, 0)
}

func TestKazooConnectsOverTLSBelowAChroot(t *testing.T) {
	t.Parallel()
	peers.Require(t, peers.Kazoo)
	certs := peers.MakeCertificates(t)
	server := peers.ZooKeeper(t, peers.ZooKeeperOptions{TLS: certs})
	conn := connect(t, server.Hosts())
	chroot := peers.Chroot(t, server)
	opts := peers.KazooOptions{Hosts: server.SecureHosts() + chroot, CA: certs.CA, Client: certs.Client}
	c := peers.StartCandidate(t, opts)
	c.Campaign(t, electionPath, "over TLS")
	c.AwaitLead(t, electionPath)
	if exists, _, err := conn.Exists(chroot + electionPath); !exists || err != nil {
		t.Errorf("the election below the chroot: %v, %v", exists, err)
	}
	c.Put(t, root, json.RawMessage(`{"type":"x"}`))
	if pass, err := peers.StartReader(t, opts, root).Drain(t.Context()); err != nil || len(pass.Events) != 1 {
		t.Errorf("%d events, %v", len(pass.Events), err)
	}
}
