package zookeeper_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// ZooKeeper's request types.
const (
	opCreate = 1
	opDelete = 2
	opGet    = 4
	opSet    = 5
	opSync   = 9
	opList   = 12
	opMulti  = 14
)

// request matches requests of a type that contain a text.
func request(op uint32, text string) func([]byte) bool {
	return func(b []byte) bool {
		return len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) == op && bytes.Contains(b, []byte(text))
	}
}

// linked opens a store that reaches the server by way of a link.
func (cl *cluster) linked() (*zookeeper.Store, *peers.Link) {
	cl.t.Helper()
	return cl.linkedFor(steady)
}

// linkedFor is linked with a session timeout.
func (cl *cluster) linkedFor(timeout time.Duration) (*zookeeper.Store, *peers.Link) {
	cl.t.Helper()
	return cl.linkedWith(zookeeper.Config{SessionTimeout: timeout})
}

// linkedWith is linked with a configuration.
func (cl *cluster) linkedWith(c zookeeper.Config) (*zookeeper.Store, *peers.Link) {
	cl.t.Helper()
	link := peers.NewZooKeeperLink(cl.t, cl.hosts[0])
	c = cl.config(c)
	c.Hosts = []string{link.Addr()}
	store, err := zookeeper.Open(cl.t.Context(), c)
	if err != nil {
		cl.t.Fatal(err)
	}
	cl.t.Cleanup(func() {
		store.Kill()
		store.Reap()
	})
	return store, link
}

// losses are the two ways in which a request's outcome becomes unknown.
var losses = map[string]func(*peers.Link, func([]byte) bool) <-chan struct{}{
	"reply lost":   (*peers.Link).LoseNextReply,
	"request lost": (*peers.Link).LoseNextRequest,
}

// A commit during which the connection is lost, at whichever step, is carried
// out once, and the leadership is kept although others wait for it.
func TestCommitSurvivesALostConnection(t *testing.T) {
	large := gerritstream.Commit{Position: after(2), Entries: []gerritstream.Entry{event(shardA, 2, 2_000_000)}}
	deadLetters := step(shardA, 2, 3)
	deadLetters.Position, deadLetters.DeadLetters = after(4), []gerritstream.DeadLetter{deadLetter(shardA, 4)}
	for name, tc := range map[string]struct {
		match func([]byte) bool
		first bool // the very first commit of the shard
		c     gerritstream.Commit
		after func([]byte) bool // another loss, after the first
	}{
		"first position": {request(opMulti, "/positions/"), true, step(shardA, 2, 3), nil},
		"next position":  {request(opMulti, "/positions/"), false, step(shardA, 2, 3), nil},
		"nothing but the position": {request(opMulti, "/positions/"), false, gerritstream.Commit{Position: after(2)},
			nil},
		"dead letters": {request(opMulti, "/dead/"), false, deadLetters, nil},
		"twice": {request(opMulti, "/positions/"), false, step(shardA, 2, 3),
			request(opMulti, "/positions/")},
		"and reading back": {request(opMulti, "/positions/"), false, step(shardA, 2, 3),
			request(opGet, "/positions/")},
		"intent":       {request(opMulti, "/intents/"), false, large, nil},
		"first chunk":  {request(opMulti, "/0000000000"), false, large, nil},
		"second chunk": {request(opMulti, "/0000000001"), false, large, nil},
		"large event":  {request(opMulti, "event_data_path"), false, large, nil},
		"large event, twice": {request(opMulti, "event_data_path"), false, large,
			request(opMulti, "event_data_path")},
	} {
		for loss, lose := range losses {
			t.Run(name+", "+loss, func(t *testing.T) {
				t.Parallel()
				cl := newCluster(t, single)
				store, link := cl.linked()
				term := elect(t, store, shardA)
				var want []gerritstream.Entry
				if !tc.first {
					commit(t, term, step(shardA, 1, 1))
					want = events(shardA, 1, 1)
				}
				next := cl.candidate(shardA)
				candidates := cl.children(cl.election(shardA))

				lost := lose(link, tc.match)
				if tc.after != nil {
					lose(link, tc.after)
				}
				commit(t, term, tc.c)
				select {
				case <-lost:
				default:
					t.Fatal("nothing was lost")
				}
				cl.queued(append(want, tc.c.Entries...)...)
				cl.checkpoint(shardA, tc.c.Position.After)
				if got := len(cl.deadLetters()); got != len(tc.c.DeadLetters) {
					t.Errorf("%d dead letters are held", got)
				}
				largeEvents := 0
				if tc.c.Entries != nil && len(tc.c.Entries[0].Payload) > 1_000_000 {
					largeEvents = 1
				}
				cl.noLargeEvents(largeEvents)
				if got := cl.children(cl.election(shardA)); len(got) != 2 || got[0] != candidates[0] ||
					got[1] != candidates[1] {
					t.Errorf("the candidates were %q and are %q", candidates, got)
				}
				commit(t, term, step(shardA, 10, 12)) // and the term goes on
				cl.queued(append(append(want, tc.c.Entries...), events(shardA, 10, 12)...)...)
				select {
				case <-next:
					t.Error("the leadership changed hands")
				default:
				}
			})
		}
	}
}

// A server refuses a stand-in that is sent although its deposit was withdrawn,
// and the connection goes on.
func TestServersRefuseStandIns(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	sound := &zk.CheckVersionRequest{Path: cl.chroot, Version: -1}
	if _, err := cl.raw.Multi(sound); err != nil {
		t.Fatal(err)
	}
	session := cl.raw.SessionID()
	if results, err := cl.raw.Multi(&zk.CheckVersionRequest{Path: zookeeper.StandIn()}); err == nil {
		t.Errorf("a server carried out a stand-in: %v", results)
	}
	if _, err := cl.raw.Multi(sound); err != nil {
		t.Errorf("the next transaction returned %v", err)
	}
	if got := cl.raw.SessionID(); got != session || cl.raw.State() != zk.StateHasSession {
		t.Errorf("the session %#x became %#x, %v", session, got, cl.raw.State())
	}
}

// candidate has another process campaign for a shard, and returns once it is a
// candidate.
func (cl *cluster) candidate(shard gerritstream.ShardID) <-chan gerritstream.Term {
	cl.t.Helper()
	before := len(cl.children(cl.election(shard)))
	store := cl.open(zookeeper.Config{})
	won := make(chan gerritstream.Term, 1)
	go func() {
		if term, err := store.Campaign(cl.t.Context(), 0, shard); err == nil {
			won <- term
		}
	}()
	eventually(cl.t, "there is another candidate", func() bool { return len(cl.children(cl.election(shard))) > before })
	return won
}

// wins waits until a candidate leads.
func wins(t *testing.T, won <-chan gerritstream.Term) gerritstream.Term {
	t.Helper()
	select {
	case term := <-won:
		return term
	case <-time.After(patience):
		t.Fatal("the candidate did not win")
		return nil
	}
}

// A candidate that does not know whether it has a lock node has exactly one,
// keeps its place, and leads, even if the connection is lost again when it
// looks for the node and when it looks who is before it.
func TestCampaignSurvivesALostConnection(t *testing.T) {
	for loss, lose := range losses {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			observer := cl.open(zookeeper.Config{})
			leader := elect(t, observer, shardA)
			store, link := cl.linked()
			resign(t, elect(t, store, shardB)) // the session stands
			lost := lose(link, request(opCreate, "__lock__"))
			lookups := []<-chan struct{}{
				link.LoseNextRequest(request(opList, string(shardA))),
				link.LoseNextReply(request(opList, string(shardA))),
				link.LoseNextReply(request(opGet, "__lock__")),
			}
			won := make(chan gerritstream.Term, 1)
			go func() {
				if term, err := store.Campaign(t.Context(), 0, shardA); err == nil {
					won <- term
				}
			}()
			receive(t, lost)
			if loss == "reply lost" {
				for _, lookup := range lookups {
					receive(t, lookup)
				}
			}
			cl.candidate(shardA)
			eventually(t, "there are two more candidates",
				func() bool { return len(cl.children(cl.election(shardA))) == 3 })
			// Not through the link, which may still lose a look-up.
			candidates := groupState(t, observer, shardA).Candidates[shardA]
			if first := candidates[1].Member == store.Process(); first != (loss == "reply lost") {
				t.Errorf("the candidates are %+v, ours is %s", candidates, store.Process())
			}
			if loss == "request lost" {
				return
			}
			resign(t, leader)
			term := wins(t, won)
			commit(t, term, step(shardA, 1, 2))
			resign(t, term)
			if candidates := cl.children(cl.election(shardA)); len(candidates) != 1 {
				t.Errorf("after the resignation the candidates are %q", candidates)
			}
		})
	}
}

// A lock node is removed in the end if its candidacy is cancelled just as the
// connection is lost.
func TestWithdrawalSurvivesALostConnection(t *testing.T) {
	for loss, lose := range losses {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			leader := elect(t, cl.open(zookeeper.Config{}), shardA)
			store, link := cl.linked()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { _, err := store.Campaign(ctx, 0, shardA); done <- err }()
			eventually(t, "there is a candidate", func() bool { return len(cl.children(cl.election(shardA))) == 2 })
			lost := lose(link, request(opDelete, "__lock__"))
			cancel()
			if err := receive(t, done); !errors.Is(err, context.Canceled) {
				t.Errorf("campaign returned %v", err)
			}
			receive(t, lost)
			eventually(t, "only the leader is left", func() bool { return len(cl.children(cl.election(shardA))) == 1 })
			commit(t, leader, step(shardA, 1, 1))
		})
	}
}

// A resignation during which the connection is lost is carried out, even if its
// caller does not wait for it.
func TestResignationSurvivesALostConnection(t *testing.T) {
	for loss, lose := range losses {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store, link := cl.linked()
			a, b := elect(t, store, shardA), elect(t, store, shardB)
			lost := lose(link, request(opDelete, string(shardA)))
			resign(t, a)
			receive(t, lost)
			if candidates := cl.children(cl.election(shardA)); len(candidates) != 0 {
				t.Errorf("the candidates are %q", candidates)
			}
			lost = lose(link, request(opDelete, string(shardB)))
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := b.Resign(ctx); err == nil {
				t.Error("a resignation without an answer was confirmed")
			}
			receive(t, lost)
			wins(t, cl.candidate(shardB))
		})
	}
}

// An origin whose reply is lost is stored or is not, and reading it shows
// which.
func TestSetOriginAndALostConnection(t *testing.T) {
	for loss, lose := range losses {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			store, link := cl.linked()
			start := gerritstream.Origin{Stream: stream, From: gerritstream.StartingPosition{Time: arrival}}
			lost := lose(link, request(opCreate, "/start"))
			if err := store.SetOrigin(soon(t), nil, start); err == nil {
				t.Error("the loss did not show")
			}
			receive(t, lost)
			_, ok, err := store.Origin(soon(t))
			if want := loss == "reply lost"; err != nil || ok != want {
				t.Errorf("origin: %v, %v, want %v", ok, err, want)
			}
			err = store.SetOrigin(soon(t), nil, start)
			if ok && !errors.Is(err, gerritstream.ErrConflict) || !ok && err != nil {
				t.Errorf("setting it again returned %v", err)
			}
		})
	}
}

// What only reads is made again when the connection is lost, and while there is
// none: servers that change places show as a moment's delay.
func TestReadsSurviveALostConnection(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	link := peers.NewZooKeeperLink(t, cl.hosts[0])
	c := cl.config(zookeeper.Config{})
	c.Hosts = []string{link.Addr()}
	o, leader := openOperator(t, c), elect(t, cl.open(zookeeper.Config{}), shardA)
	commit(t, leader, gerritstream.Commit{
		Position: after(1), DeadLetters: []gerritstream.DeadLetter{deadLetter(shardA, 1)},
	})
	store, err := zookeeper.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(soon(t)) })
	if _, _, err := store.Origin(soon(t)); err != nil { // the session stands
		t.Fatal(err)
	}
	sync, checkpoint := request(opSync, ""), request(opGet, string(shardA))
	shards := []gerritstream.ShardID{shardA}
	for name, is := range map[string]struct {
		lost func([]byte) bool
		read func() error
	}{
		"origin":      {sync, func() error { _, _, err := store.Origin(soon(t)); return err }},
		"positions":   {sync, func() error { _, err := store.Positions(soon(t), 0); return err }},
		"checkpoints": {checkpoint, func() error { _, err := store.Checkpoints(soon(t), shards); return err }},
		"group":       {sync, func() error { _, err := store.GroupState(soon(t), shards); return err }},
		"pauses":      {sync, func() error { _, err := store.Pauses(soon(t)); return err }},
		"inspection":  {sync, func() error { _, err := store.Inspect(soon(t)); return err }},
		"stored":      {sync, func() error { _, err := o.Stored(soon(t)); return err }},
		"check":       {sync, func() error { return o.CheckPosition(soon(t), 0, shardA, after(1)) }},
		"dead letters": {sync, func() error {
			for _, err := range o.DeadLetters(soon(t)) {
				return err
			}
			return errors.New("there is none")
		}},
	} {
		lost := link.LoseNextReply(is.lost)
		if err := is.read(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		receive(t, lost)
	}
}

// A process that gets no answer from ZooKeeper stops trusting its leadership
// before another process can have it. Its calls end with their contexts, and
// what it had sent has no effect when it arrives at last.
func TestSilence(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store, link := cl.linkedFor(brief)
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 1, 2))
	if err := store.Advertise(soon(t), gerritstream.MemberInfo{Host: "h", Process: "p"}); err != nil {
		t.Fatal(err)
	}
	if err := store.Report(soon(t), gerritstream.Status{Process: "p"}); err != nil {
		t.Fatal(err)
	}
	won := cl.candidate(shardA)

	link.Hold(peers.Both)
	silent := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if err := term.Commit(ctx, step(shardA, 3, 4)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a commit without an answer returned %v", err)
	}
	if took := time.Since(silent); took > time.Second {
		t.Errorf("a commit returned %v after its context", took-150*time.Millisecond)
	}
	ended(t, term)
	next := wins(t, won)
	begins(t, next, sequence(2))
	commit(t, next, step(shardA, 3, 5))

	link.Restore()
	eventually(t, "the process is a member again", func() bool {
		m, err := cl.open(zookeeper.Config{}).GroupState(soon(t), nil)
		return err == nil && len(m.Members) == 1 && m.Members[0].Info.Process == "p"
	})
	eventually(t, "its report is there again", func() bool { return len(cl.children(cl.own("/reports"))) == 1 })
	commit(t, next, step(shardA, 6, 6))
	cl.queued(events(shardA, 1, 6)...)
	again := make(chan gerritstream.Term, 1)
	go func() {
		if term, err := store.Campaign(t.Context(), 0, shardA); err == nil {
			again <- term
		}
	}()
	resign(t, next)
	begins(t, wins(t, again), sequence(6))
}

// An idle leader's trust ends before its session can have expired on the
// servers.
func TestTrustEnds(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store, link := cl.linkedFor(brief)
	term := elect(t, store, shardA)
	held := time.Now()
	link.Hold(peers.Both)
	ended(t, term)
	if took := time.Since(held); took > brief {
		t.Errorf("the term was trusted for %v, the session lasts %v", took, brief)
	}
	if cause := context.Cause(term.Context()); !errors.Is(cause, gerritstream.ErrLeadershipLost) {
		t.Errorf("the term ended with %v", cause)
	}
}

// While no server answers, calls that do not block fail within seconds, calls
// that block wait, and Close returns with its context.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store, link := cl.linkedFor(brief)
	link.Cut()
	began := time.Now()
	if _, _, err := store.Origin(t.Context()); err == nil {
		t.Error("start returned nothing wrong")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("start returned after %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	campaign, ended := make(chan error, 1), make(chan error, 1)
	go func() { _, err := store.Campaign(ctx, 0, shardA); campaign <- err }()
	go func() { ended <- store.WaitEnded(ctx, 0, shardA) }()
	select {
	case err := <-campaign:
		t.Fatalf("campaign returned %v", err)
	case err := <-ended:
		t.Fatalf("the wait for a shard's end returned %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	for range 2 {
		select {
		case err := <-campaign:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("campaign returned %v", err)
			}
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the wait for a shard's end returned %v", err)
			}
		case <-time.After(patience):
			t.Fatal("a call did not return with its context")
		}
	}
	link.Restore()
	resign(t, elect(t, store, shardA))
	term := elect(t, store, shardA)

	link.Hold(peers.Both)
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	began = time.Now()
	_ = store.Close(ctx)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("close took %v", took)
	}
	if term.Context().Err() == nil {
		t.Error("the term did not end")
	}
	if _, err := store.Campaign(soon(t), 0, shardA); err == nil {
		t.Error("campaign after close succeeded")
	}
}

// A report that may not be read, or is garbage, hides nothing else.
func TestUnreadableReports(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	if err := store.Report(soon(t), gerritstream.Status{Process: "p"}); err != nil {
		t.Fatal(err)
	}
	acl := zk.WorldACL(zk.PermWrite | zk.PermDelete)
	if _, err := cl.raw.Create(cl.own("/reports/secret"), []byte(`{"process":"x"}`), 0, acl); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"null": "null", "empty": "", "list": "[]", "other": `{"process":7}`} {
		cl.put(cl.own("/reports/"+name), []byte(data))
	}
	in, err := store.Inspect(soon(t))
	if err != nil || len(in.Reports) != 1 {
		t.Errorf("the reports are %+v, %v", in.Reports, err)
	}
}

// Close frees the leaderships at once, and leaves no nodes.
func TestClose(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	term := elect(t, store, shardA)
	for _, err := range []error{
		store.Report(soon(t), gerritstream.Status{}), store.Advertise(soon(t), gerritstream.MemberInfo{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	won := cl.candidate(shardA)
	began := time.Now()
	if err := store.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	wins(t, won)
	if took := time.Since(began); took > steady/2 {
		t.Errorf("the next leader waited %v", took)
	}
	if err := term.Commit(soon(t), step(shardA, 1, 1)); !errors.Is(err, gerritstream.ErrLeadershipLost) {
		t.Errorf("commit after close returned %v", err)
	}
	for _, folder := range []string{"/members", "/reports"} {
		if left := cl.children(cl.own(folder)); len(left) != 0 {
			t.Errorf("%s holds %q", folder, left)
		}
	}
}
