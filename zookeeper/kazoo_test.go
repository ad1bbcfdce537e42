package zookeeper_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// kazoo returns how Python reaches the cluster; its paths are without the
// chroot.
func (cl *cluster) kazoo() peers.KazooOptions {
	return peers.KazooOptions{Hosts: strings.Join(cl.hosts, ",") + cl.chroot, SessionTimeout: brief}
}

const (
	zuulRoot       = "/zuul/events/connection/" + connection
	pythonElection = zuulRoot + "/election-aws_kinesis_" + string(shardA)
	pythonState    = zuulRoot + "/checkpoint-aws_kinesis_" + string(shardA)
)

// campaign has a store campaign for a shard.
func campaign(t *testing.T, cl *cluster, store *zookeeper.Store) <-chan gerritstream.Term {
	t.Helper()
	before := len(cl.children(cl.election(shardA)))
	won := make(chan gerritstream.Term, 1)
	go func() {
		if term, err := store.Campaign(t.Context(), 0, shardA); err == nil {
			won <- term
		}
	}()
	eventually(t, "there is another candidate", func() bool { return len(cl.children(cl.election(shardA))) > before })
	return won
}

// Python's candidates and ours succeed each other in one order, whichever
// leads, resigns or dies; each side sees all of them.
func TestPythonAndWeTakeTurns(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	a, b := cl.open(zookeeper.Config{Process: "ours-1"}), cl.open(zookeeper.Config{Process: "ours-2"})
	election, lock := peers.StartCandidate(t, cl.kazoo()), peers.StartCandidate(t, cl.kazoo())

	first := elect(t, a, shardA)
	election.Campaign(t, pythonElection, "")
	eventually(t, "Python is a candidate", func() bool { return len(cl.children(cl.election(shardA))) == 2 })
	second := campaign(t, cl, b)
	lock.CampaignByLock(t, pythonElection, "zuul-2")
	eventually(t, "all are candidates", func() bool { return len(cl.children(cl.election(shardA))) == 4 })
	want := []string{"gerritstream ours-1", "", "gerritstream ours-2", "zuul-2"}
	if got := election.Candidates(t, pythonElection); !slices.Equal(got, want) {
		t.Errorf("kazoo sees %q, want %q", got, want)
	}
	candidates := groupState(t, a, shardA).Candidates[shardA]
	if len(candidates) != 4 || candidates[0].Foreign || !candidates[1].Foreign || candidates[2].Foreign ||
		!candidates[3].Foreign {
		t.Errorf("we see %+v", candidates)
	}
	commit(t, first, step(shardA, 1, 2))
	if election.Leads(t, pythonElection) {
		t.Fatal("Python leads beside us")
	}

	resign(t, first)
	election.AwaitLead(t, pythonElection)
	third := campaign(t, cl, a)
	for _, won := range []<-chan gerritstream.Term{second, third} {
		select {
		case <-won:
			t.Fatal("we lead beside Python")
		case <-time.After(100 * time.Millisecond):
		}
	}
	if seq, err := election.ReadCheckpoint(t, pythonState); err != nil || seq != string(sequence(2)) {
		t.Errorf("Python begins at %q, %v", seq, err)
	}
	election.Put(t, zuulRoot, json.RawMessage(`{"type": "python"}`))
	if err := election.WriteCheckpoint(t, pythonState, string(sequence(3))); err != nil {
		t.Fatal(err)
	}
	election.Resign(t, pythonElection)

	term := wins(t, second)
	begins(t, term, sequence(3))
	commit(t, term, step(shardA, 4, 4))
	if err := b.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	lock.AwaitLead(t, pythonElection)
	if seq, err := lock.ReadCheckpoint(t, pythonState); err != nil || seq != string(sequence(4)) {
		t.Errorf("Python begins at %q, %v", seq, err)
	}
	lock.Kill()
	term = wins(t, third)
	begins(t, term, sequence(4))
	commit(t, term, step(shardA, 5, 5))
}

// A Python process does not notice at once that its session has expired. If it
// had read a checkpoint, its next one is refused and stops it. If it had found
// none, it overwrites ours, but nothing is lost by that, and we queue nothing
// twice.
func TestRealPythonZombie(t *testing.T) {
	for name, tc := range map[string]struct {
		begin       int  // what Python finds; 0: nothing
		early       bool // the zombie writes before our first commit, otherwise after
		refused     bool
		beginsAfter int
		want        []int // of records 11 to 14: what we queue
	}{
		"conditional, late":    {10, false, true, 10, []int{11, 12, 13, 14}},
		"conditional, early":   {10, true, false, 10, []int{13, 14}},
		"unconditional, late":  {0, false, false, 0, []int{11, 12, 13, 14}},
		"unconditional, early": {0, true, false, 0, []int{11, 12, 13, 14}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store := cl.open(zookeeper.Config{})
			resign(t, elect(t, store, shardB)) // the paths are there
			if tc.begin > 0 {
				cl.python(shardA, quoted(tc.begin))
			}
			zombie := peers.StartCandidate(t, cl.kazoo())
			zombie.Campaign(t, pythonElection, "")
			zombie.AwaitLead(t, pythonElection)
			if _, err := zombie.ReadCheckpoint(t, pythonState); err != nil {
				t.Fatal(err)
			}
			won := campaign(t, cl, store)
			zombie.Freeze(t)
			term := wins(t, won)
			want := gerritstream.SequenceNumber("")
			if tc.beginsAfter > 0 {
				want = sequence(tc.beginsAfter)
			}
			begins(t, term, want)

			write := func() {
				zombie.Thaw(t)
				zombie.Put(t, zuulRoot, json.RawMessage(`{"type": "python"}`))
				err := zombie.WriteCheckpoint(t, pythonState, string(sequence(12)))
				var refusal *peers.Refusal
				if tc.refused != errors.As(err, &refusal) || refusal != nil && refusal.Exception != "BadVersionError" {
					t.Errorf("the zombie's checkpoint: %v", err)
				}
			}
			if tc.early {
				write()
				commit(t, term, step(shardA, 11, 14))
			} else {
				commit(t, term, step(shardA, 11, 12))
				write()
				commit(t, term, step(shardA, 13, 14))
			}
			var got []int
			for _, e := range cl.entries() {
				for n := 11; n <= 14; n++ {
					if e.ID == event(shardA, n, 100).ID {
						got = append(got, n)
					}
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("we queued %v, want %v", got, tc.want)
			}
			cl.checkpoint(shardA, sequence(14))
			resign(t, term)
			begins(t, elect(t, store, shardA), sequence(14))
		})
	}
}

// Zuul reads what we queue: every event once, in order, byte for byte, large
// ones too.
func TestZuulReadsWhatWeQueue(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	written := time.Now().Add(-time.Hour)
	store := cl.open(zookeeper.Config{Now: func() time.Time { return written }})
	reader := peers.StartReader(t, cl.kazoo(), zuulRoot)
	term, idle := elect(t, store, shardA), elect(t, store, shardB)
	commit(t, idle, gerritstream.Commit{Position: anchor()})
	payloads := []string{
		`{"type": "comment-added", "project": "a", "change": {"project": "a", "number": 1}}`,
		" { \"type\" : \"x\" ,\t\"project\":\"a\",\"s\":\"\\u00e9\\u2028\u2028 \U0001F600\" }\n",
		`{"type":"x","project":"a","n":-0.0,"m":1E+2,"m":123456789012345678901234567890}`,
	}
	var want []gerritstream.Entry
	for i, payload := range payloads {
		e := event(shardA, i+1, 0)
		e.Payload = []byte(payload)
		want = append(want, e)
	}
	commit(t, term, gerritstream.Commit{Position: after(3), Entries: want,
		DeadLetters: []gerritstream.DeadLetter{deadLetter(shardA, 3)}})
	for i, size := range []int{700_000, 899_000, 1_100_000, 2 << 20, 5 << 20} {
		e := event(shardA, 4+i, size)
		e.Payload = bytes.Replace(e.Payload, []byte(`{"type"`), []byte(`{"project": "a", "type"`), 1)
		want = append(want, e)
		commit(t, term, gerritstream.Commit{Position: after(4 + i), Entries: []gerritstream.Entry{e}})
	}
	pass, err := reader.Drain(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(pass.Events) != len(want) {
		t.Fatalf("Zuul reads %d events, want %d", len(pass.Events), len(want))
	}
	for i, e := range pass.Events {
		if e.EventID != want[i].ID.String() || !bytes.Equal(bytes.TrimSpace(e.Payload),
			bytes.TrimSpace(want[i].Payload)) {
			t.Errorf("event %d is %s %.100q, want %s %.100q", i, e.EventID, e.Payload, want[i].ID, want[i].Payload)
		}
		if ms := written.UnixMilli(); int64(e.Timestamp*1000+0.5) != ms {
			t.Errorf("event %d has timestamp %f, want %d ms", i, e.Timestamp, ms)
		}
	}
	if pass.SideData != 0 {
		t.Errorf("%d large events are left", pass.SideData)
	}
	checkpoints, err := reader.Checkpoints(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := checkpoints[string(shardA)]; got.Sequence != string(sequence(8)) {
		t.Errorf("Zuul's checkpoint is %+v", got)
	}
	if got := checkpoints[string(shardB)]; got.Sequence != "" || got.Error != "" {
		t.Errorf("Zuul's checkpoint of a shard with an anchor is %+v", got)
	}
}

// The servers restart one after the other, under traffic, with a Python
// candidate after each of our leaders: no leadership changes hands, no event is
// lost or doubled.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const shards = 6
	ensemble := peers.ZooKeeper(t, peers.ZooKeeperOptions{Servers: 3, MaxSessionTimeout: steady})
	cl := &cluster{t: t, hosts: strings.Split(ensemble.Hosts(), ","), chroot: peers.Chroot(t, ensemble)}
	cl.raw = rawConn(t, cl.hosts)
	store, err := zookeeper.Open(t.Context(), cl.config(zookeeper.Config{SessionTimeout: 20 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close(t.Context()) }()
	python := peers.StartCandidate(t, peers.KazooOptions{Hosts: ensemble.Hosts() + cl.chroot, SessionTimeout: steady})

	stop := make(chan struct{})
	var committing sync.WaitGroup
	counts := make([]int, shards)
	ids := make([]gerritstream.ShardID, shards)
	for i := range shards {
		ids[i] = gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i))
		term := elect(t, store, ids[i])
		python.Campaign(t, zuulRoot+"/election-aws_kinesis_"+string(ids[i]), "")
		committing.Go(func() {
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			for n := 1; ; n++ {
				if err := term.Commit(t.Context(), step(ids[i], n, n)); err != nil {
					t.Errorf("commit %d to %s: %v", n, ids[i], err)
					return
				}
				counts[i] = n
				select {
				case <-pace.C:
				case <-stop:
					return
				}
			}
		})
	}
	for _, server := range ensemble.Servers {
		server.Restart(t)
		ensemble.Await(t)
	}
	close(stop)
	committing.Wait()
	m := groupState(t, store, ids...)
	for i, shard := range ids {
		if candidates := m.Candidates[shard]; len(candidates) != 2 || candidates[0].Member != store.Process() ||
			!candidates[1].Foreign {
			t.Errorf("the candidates for %s are %+v", shard, candidates)
		}
		if counts[i] == 0 {
			t.Errorf("nothing was committed to %s", shard)
		}
	}
	got := map[gerritstream.EventID]int{}
	for _, e := range cl.entries() {
		got[e.ID]++
	}
	total := 0
	for i, shard := range ids {
		for n := 1; n <= counts[i]; n++ {
			total++
			if times := got[event(shard, n, 100).ID]; times != 1 {
				t.Errorf("record %d of %s is queued %d times", n, shard, times)
			}
		}
	}
	if len(got) != total {
		t.Errorf("%d events are queued, want %d", len(got), total)
	}
	t.Logf("%d events over %d shards", total, shards)
}
