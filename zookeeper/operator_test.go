package zookeeper_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

func openOperator(t *testing.T, c zookeeper.Config) *zookeeper.Operator {
	t.Helper()
	o, err := zookeeper.OpenOperator(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the test's own context has ended by then
		if err := o.Close(context.Background()); err != nil {
			t.Errorf("close the operator: %v", err)
		}
	})
	return o
}

func setTo(pos gerritstream.Position) func(*gerritstream.StoredPosition) (gerritstream.Position, error) {
	return func(*gerritstream.StoredPosition) (gerritstream.Position, error) { return pos, nil }
}

func set(t *testing.T, o gerritstream.Operator, pos gerritstream.Position) {
	t.Helper()
	if err := o.SetPosition(soon(t), 0, shardA, setTo(pos)); err != nil {
		t.Fatal(err)
	}
}

func (cl *cluster) positionPath(shard gerritstream.ShardID) string {
	return cl.own("/e0/positions/" + string(shard))
}

// version returns the version of a node; -1: it is absent.
func (cl *cluster) version(path string) int32 {
	cl.t.Helper()
	if _, err := cl.raw.Sync(path); err != nil {
		cl.t.Fatal(err)
	}
	present, stat, err := cl.raw.Exists(path)
	if err != nil {
		cl.t.Fatal(err)
	}
	if !present {
		return -1
	}
	return stat.Version
}

// SetPosition sets Zuul's checkpoint, back and ahead, whatever was in it, so
// that the next term begins at the position that was set.
func TestOperatorSetsZuulsCheckpoint(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	o, store := openOperator(t, cl.config(zookeeper.Config{})), cl.open(zookeeper.Config{})
	term := elect(t, store, shardA)
	commit(t, term, step(shardA, 1, 9))
	resign(t, term)
	for _, to := range []struct {
		pos gerritstream.Position
		z   gerritstream.SequenceNumber
	}{
		{after(3), sequence(3)},
		{after(20), sequence(20)},
		{anchor(), ""},
		{gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}, ""},
		{after(5), sequence(5)},
	} {
		for _, found := range []string{"as it was", "", "[", quoted(7)} {
			if found != "as it was" {
				cl.python(shardA, found)
			}
			set(t, o, to.pos)
			cl.checkpoint(shardA, to.z)
			term := elect(t, store, shardA)
			if got := term.Beginning().Position; got.String() != to.pos.String() {
				t.Errorf("after %q the term begins with %s, want %s", found, got, to.pos)
			}
			resign(t, term)
		}
	}
	// A missing checkpoint is made, and what is above it.
	cl.remove(cl.chroot + "/zuul")
	set(t, o, after(4))
	cl.checkpoint(shardA, sequence(4))
}

// A Python leader keeps its lock node. Its next checkpoint is refused, even one
// of the same value.
func TestOperatorStopsAPythonLeader(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	o := openOperator(t, cl.config(zookeeper.Config{}))
	cl.python(shardA, quoted(3))
	python := peers.StartCandidate(t, cl.kazoo())
	python.Campaign(t, pythonElection, "")
	lock := python.AwaitLead(t, pythonElection)
	if _, err := python.ReadCheckpoint(t, pythonState); err != nil {
		t.Fatal(err)
	}
	set(t, o, after(3))
	if candidates := cl.children(cl.election(shardA)); !slices.Equal(candidates, []string{lock}) {
		t.Errorf("the candidates are %q, want %q", candidates, lock)
	}
	var refusal *peers.Refusal
	if err := python.WriteCheckpoint(t, pythonState, string(sequence(4))); !errors.As(err, &refusal) ||
		refusal.Exception != "BadVersionError" {
		t.Errorf("Python's write: %v", err)
	}
	cl.checkpoint(shardA, sequence(3))
	python.Resign(t, pythonElection)
	begins(t, elect(t, cl.open(zookeeper.Config{}), shardA), sequence(3))
}

// A point to start from is set only where one of ours leads next, because
// Python would begin at the tip. A sequence number is set in any case.
func TestOperatorMindsWhoIsNext(t *testing.T) {
	for candidates, refused := range map[string]bool{
		"": false, "ours": false, "ours ours": false, "ours ours python": false, "python ours": false,
		"python ours python": false,
		"python":             true, "ours python": true, "ours python ours": true, "python python ours": true,
	} {
		t.Run(candidates, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			o := openOperator(t, cl.config(zookeeper.Config{}))
			for _, who := range strings.Fields(candidates) {
				if who == "ours" {
					cl.candidate(shardA)
				} else {
					cl.kazooCandidate(shardA)
				}
			}
			before := cl.children(cl.election(shardA))
			if err := o.CheckPosition(soon(t), 0, shardA, anchor()); refused != errors.Is(err,
				gerritstream.ErrForeignLeader) || !refused && err != nil {
				t.Errorf("check returned %v, refused: want %v", err, refused)
			}
			if err := o.CheckPosition(soon(t), 0, shardA, after(1)); err != nil {
				t.Errorf("check of a sequence number returned %v", err)
			}
			err := o.SetPosition(soon(t), 0, shardA, setTo(anchor()))
			if refused != errors.Is(err, gerritstream.ErrForeignLeader) || !refused && err != nil {
				t.Errorf("set returned %v, refused: want %v", err, refused)
			}
			if refused {
				if after := cl.children(cl.election(shardA)); !slices.Equal(before, after) ||
					cl.version(cl.positionPath(shardA)) != -1 {
					t.Errorf("the candidates were %q and are %q, or something was written", before, after)
				}
			}
			set(t, o, after(1))
			cl.checkpoint(shardA, sequence(1))
		})
	}
}

// The candidate of ours that would lead next leaves between the read and the
// transaction, and Python is next.
func TestOperatorMindsThatTheNextOneGoes(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	o := openOperator(t, cl.config(zookeeper.Config{}))
	elect(t, cl.open(zookeeper.Config{}), shardA)
	leader := cl.children(cl.election(shardA))[0]
	cl.candidate(shardA)
	cl.kazooCandidate(shardA)
	reads := 0
	err := o.SetPosition(soon(t), 0, shardA, func(*gerritstream.StoredPosition) (gerritstream.Position, error) {
		for _, name := range cl.children(cl.election(shardA)) {
			if reads == 0 && name != leader && !strings.HasPrefix(name, foreignName) {
				cl.remove(cl.election(shardA) + "/" + name)
			}
		}
		reads++
		return anchor(), nil
	})
	if !errors.Is(err, gerritstream.ErrForeignLeader) || reads != 2 {
		t.Errorf("after %d reads set returned %v", reads, err)
	}
}

// If something changes between the read and the transaction, SetPosition reads
// again or refuses.
func TestOperatorMeetsOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		meanwhile func(*testing.T, *cluster, gerritstream.Term)
		reads     int
		err       error
	}{
		"nothing": {func(*testing.T, *cluster, gerritstream.Term) {}, 1, nil},
		"the leader commits": {func(t *testing.T, _ *cluster, term gerritstream.Term) {
			commit(t, term, step(shardA, 2, 3))
		}, 2, nil},
		"the leader resigns": {func(t *testing.T, _ *cluster, term gerritstream.Term) { resign(t, term) }, 2, nil},
		"Python writes": {func(_ *testing.T, cl *cluster, _ gerritstream.Term) { cl.python(shardA, quoted(9)) },
			2, nil},
		"somebody sets it": {func(_ *testing.T, cl *cluster, _ gerritstream.Term) {
			cl.put(cl.positionPath(shardA), []byte("x"))
		}, 2, nil},
		"all is deleted": {func(_ *testing.T, cl *cluster, _ gerritstream.Term) {
			cl.remove(cl.own("/e0"))
			cl.remove(cl.chroot + "/zuul")
		}, 2, nil},
		"another epoch": {func(_ *testing.T, cl *cluster, _ gerritstream.Term) {
			cl.put(cl.own("/start"), []byte(strings.Replace(string(cl.get(cl.own("/start"))), `"epoch":0`,
				`"epoch":1`, 1)))
		}, 1, gerritstream.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			o, store := openOperator(t, cl.config(zookeeper.Config{})), cl.open(zookeeper.Config{})
			start := gerritstream.Origin{Stream: stream, From: gerritstream.StartingPosition{TrimHorizon: true}}
			if err := store.SetOrigin(soon(t), nil, start); err != nil {
				t.Fatal(err)
			}
			term := elect(t, store, shardA)
			commit(t, term, step(shardA, 1, 1))
			reads := 0
			err := o.SetPosition(soon(t), 0, shardA, func(*gerritstream.StoredPosition) (gerritstream.Position, error) {
				if reads++; reads == 1 {
					tc.meanwhile(t, cl, term)
				}
				return after(7), nil
			})
			if !errors.Is(err, tc.err) || reads != tc.reads {
				t.Errorf("%d reads, error %v, want %d and %v", reads, err, tc.reads, tc.err)
			}
			if tc.err != nil {
				cl.checkpoint(shardA, sequence(1))
				return
			}
			cl.checkpoint(shardA, sequence(7))
			begins(t, elect(t, store, shardA), sequence(7))
		})
	}
}

// What an operator does is done once, even if the connection is lost.
func TestOperatorSurvivesALostConnection(t *testing.T) {
	for loss, lose := range losses {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, single)
			link := peers.NewZooKeeperLink(t, cl.hosts[0])
			c := cl.config(zookeeper.Config{})
			c.Hosts = []string{link.Addr()}
			o, store := openOperator(t, c), cl.open(zookeeper.Config{})
			term := elect(t, store, shardA)
			e := event(shardA, 1, 100)
			d := gerritstream.DeadLetter{
				ID: e.ID, Shard: shardA, Seq: e.Seq, Sub: e.Sub, Arrived: e.Arrived, Reason: "shape",
				Payload: e.Payload, Length: len(e.Payload),
			}
			commit(t, term, gerritstream.Commit{Position: after(2),
				DeadLetters: []gerritstream.DeadLetter{d, deadLetter(shardA, 2)}})

			lost := func(c <-chan struct{}) {
				t.Helper()
				select {
				case <-c:
				default:
					t.Fatal("nothing was lost")
				}
			}
			gone := lose(link, request(opMulti, "/positions/"))
			version := cl.version(cl.positionPath(shardA))
			set(t, o, after(1))
			if candidates := cl.children(cl.election(shardA)); len(candidates) != 0 {
				t.Errorf("the leader's lock node %q is still there", candidates)
			}
			lost(gone)
			if v := cl.version(cl.positionPath(shardA)); v != version+1 {
				t.Errorf("the position has version %d, want %d", v, version+1)
			}
			cl.checkpoint(shardA, sequence(1))
			ended(t, term)
			resign(t, term)

			gone = lose(link, request(opMulti, "/dead/"))
			err := o.RedriveDeadLetter(soon(t), e)
			lost(gone)
			if (err == nil) != (loss == "request lost") {
				t.Errorf("retry: %v", err)
			}
			cl.queued(e)
			gone = lose(link, request(opMulti, "/dead/"))
			if n, err := o.DropDeadLetters(soon(t), []gerritstream.EventID{deadLetter(shardA, 2).ID}); n != 1 ||
				err != nil {
				t.Errorf("%d dropped, %v", n, err)
			}
			lost(gone)
			if left := cl.deadLetters(); len(left) != 0 {
				t.Errorf("left are %v", left)
			}

			done := after(5)
			done.Ended = true
			set(t, o, done)
			gone = lose(link, request(opMulti, "/positions/"))
			if n, err := o.RemovePositions(soon(t), []gerritstream.PositionKey{{Shard: shardA}}); n != 1 || err != nil {
				t.Errorf("%d removed, %v", n, err)
			}
			lost(gone)
			if cl.version(cl.positionPath(shardA)) != -1 {
				t.Error("the position is still there")
			}
			cl.checkpoint(shardA, sequence(5)) // Zuul's stays
		})
	}
}

// An operator changes only what it is asked to change, and leaves no nodes of
// its own.
func TestOperatorTakesPartInNothing(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	o, err := zookeeper.OpenOperator(t.Context(), cl.config(zookeeper.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	const intent = "7f88db97-5d5d-451d-8efc-afeaabd7a8f9"
	cl.put(cl.own("/intents/"+string(shardA)), []byte(intent))
	cl.put(cl.zuul("/events/data/"+intent+"/0000000000"), []byte("x"))
	cl.put(cl.own("/discarded/"+string(shardA)), []byte("17"))
	cl.put(cl.own("/dead/x"), []byte("{"))
	set(t, o, after(3))
	for l, err := range o.DeadLetters(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if n, err := o.DropDeadLetters(soon(t), []gerritstream.EventID{l.DeadLetter.ID}); err != nil || n != 1 {
			t.Errorf("%d dropped, %v", n, err)
		}
	}
	ephemerals := func() (found []string) {
		var walk func(path string)
		walk = func(path string) {
			if _, stat, err := cl.raw.Exists(path); err == nil && stat.EphemeralOwner != 0 {
				found = append(found, path)
			}
			for _, child := range cl.children(path) {
				walk(path + "/" + child)
			}
		}
		walk(cl.chroot)
		return found
	}
	if found := ephemerals(); len(found) != 0 {
		t.Errorf("the operator's session has the nodes %q", found)
	}
	if err := o.Close(soon(t)); err != nil {
		t.Errorf("close: %v", err)
	}
	if got := string(cl.get(cl.own("/discarded/" + string(shardA)))); got != "17" {
		t.Errorf("the number of discarded dead letters is %q", got)
	}
	if got := cl.children(cl.zuul("/events/data")); len(got) != 1 ||
		string(cl.get(cl.own("/intents/"+string(shardA)))) != intent {
		t.Errorf("the unfinished large event was touched: %q", got)
	}
	elect(t, cl.open(zookeeper.Config{}), shardA)
	cl.noLargeEvents(0)
}

// An unreadable dead letter is listed like the others, can be dropped, and is
// never queued.
func TestUnreadableDeadLetters(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	o, store := openOperator(t, cl.config(zookeeper.Config{})), cl.open(zookeeper.Config{})
	sound := deadLetter(shardA, 1)
	commit(t, elect(t, store, shardA), gerritstream.Commit{Position: after(1),
		DeadLetters: []gerritstream.DeadLetter{sound}})
	garbage := []string{"", "{", `{"format":1}`, `{"format":1000000}`, "\xff", `{"type":"change-merged"}`}
	for i, data := range garbage {
		cl.put(cl.own("/dead/"+string('a'+rune(i))), []byte(data))
	}
	var ids []gerritstream.EventID
	var shown []string
	for l, err := range o.DeadLetters(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if ids = append(ids, l.DeadLetter.ID); l.DeadLetter.ID == sound.ID {
			continue
		}
		shown = append(shown, string(l.DeadLetter.Payload))
		if l.DeadLetter.Reason != "unreadable" || l.DeadLetter.Length != len(l.DeadLetter.Payload) {
			t.Errorf("%q is shown as %+v", l.DeadLetter.Payload, l)
		}
		if one, err := o.DeadLetter(soon(t), l.DeadLetter.ID); err != nil ||
			one.DeadLetter.Detail != l.DeadLetter.Detail {
			t.Errorf("one by one it is %+v, %v", one, err)
		}
		if err := o.RedriveDeadLetter(soon(t), gerritstream.Entry{ID: l.DeadLetter.ID,
			Payload: l.DeadLetter.Payload}); err == nil {
			t.Errorf("%q was queued", l.DeadLetter.Payload)
		}
	}
	slices.Reverse(shown)
	if !slices.Equal(shown, garbage) {
		t.Errorf("shown are %q, want %q", shown, garbage)
	}
	cl.queued()
	if n, err := o.DropDeadLetters(soon(t), ids); err != nil || n != len(garbage)+1 {
		t.Errorf("%d dropped, %v", n, err)
	}
	if left := cl.children(cl.own("/dead")); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

// Dead letters are found by their ids without reading all of them for each.
func TestOperatorFindsDeadLetters(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	term := elect(t, cl.open(zookeeper.Config{}), shardA)
	const many = 200
	var ids []gerritstream.EventID
	for n := 1; n <= many; n += 50 {
		c := gerritstream.Commit{Position: after(n + 49)}
		for i := range 50 {
			c.DeadLetters = append(c.DeadLetters, deadLetter(shardA, n+i))
			ids = append(ids, deadLetter(shardA, n+i).ID)
		}
		commit(t, term, c)
	}
	link := peers.NewZooKeeperLink(t, cl.hosts[0])
	var reads atomic.Int64
	link.LoseNextRequest(func(b []byte) bool { // loses none
		if request(opGet, "/dead/")(b) {
			reads.Add(1)
		}
		return false
	})
	c := cl.config(zookeeper.Config{})
	c.Hosts = []string{link.Addr()}
	o := openOperator(t, c)
	for _, id := range ids {
		if _, err := o.DeadLetter(soon(t), id); err != nil {
			t.Fatal(err)
		}
	}
	if n := reads.Load(); n != 2*many {
		t.Errorf("%d reads for %d dead letters one by one, want each twice", n, many)
	}
	if n, err := o.DropDeadLetters(soon(t), ids); err != nil || n != many {
		t.Errorf("%d dropped, %v", n, err)
	}
}

// Without a server, a chroot or a valid certificate, opening fails with one
// line, within the caller's deadline.
func TestOperatorWithoutZooKeeper(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	link := peers.NewZooKeeperLink(t, cl.hosts[0])
	link.Cut()
	for name, tc := range map[string]struct {
		change  func(*zookeeper.Config)
		limit   time.Duration // the caller's
		says    string
		unusual bool // an operator has to change something
	}{
		"away": {func(c *zookeeper.Config) { c.Hosts = []string{link.Addr()} }, patience,
			"ZooKeeper cannot be reached: the last connection to ", false},
		"away, and the caller in a hurry": {func(c *zookeeper.Config) { c.Hosts = []string{link.Addr()} },
			1500 * time.Millisecond, "ZooKeeper cannot be reached: ", false},
		"no chroot": {func(c *zookeeper.Config) { c.Chroot += "-not" }, patience,
			"does not exist", true},
		"no connection": {func(c *zookeeper.Config) { c.Connection = "" }, patience,
			"no connection name given", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cl.config(zookeeper.Config{})
			tc.change(&c)
			ctx, cancel := context.WithTimeout(t.Context(), tc.limit)
			defer cancel()
			began := time.Now()
			_, err := zookeeper.OpenOperator(ctx, c)
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("open: %v, want one line with %q", err, tc.says)
			}
			if errors.Is(err, zookeeper.ErrConfig) != tc.unusual {
				t.Errorf("is it a matter of configuration: %v, want %v", err, tc.unusual)
			}
			if took := time.Since(began); took > min(tc.limit, 5*time.Second)+5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A read that is not answered in time says so, and nothing of writing.
func TestReadWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	link := peers.NewZooKeeperLink(t, cl.hosts[0])
	c := cl.config(zookeeper.Config{})
	c.Hosts = []string{link.Addr()}
	o := openOperator(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	link.Hold(peers.Requests)
	_, err := o.DeadLetter(ctx, event(shardA, 1, 1).ID) // a sync, and reads
	link.Restore()
	if err == nil || !strings.Contains(err.Error(), "ZooKeeper has not answered in time: context deadline exceeded") ||
		strings.Contains(err.Error(), "written") {
		t.Errorf("got %v", err)
	}
}

// Zuul reads a redriven event as if it had been queued at once, under the same
// id.
func TestRedrivenDeadLetterIsReadByZuul(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	o, store := openOperator(t, cl.config(zookeeper.Config{})), cl.open(zookeeper.Config{})
	e := event(shardA, 1, gerritstream.MaxDeadLetterBytes)
	d := gerritstream.DeadLetter{
		ID: e.ID, Shard: shardA, Seq: e.Seq, Sub: 7, Arrived: e.Arrived, Reason: "shape", Payload: e.Payload,
		Length: len(e.Payload),
	}
	commit(t, elect(t, store, shardA), gerritstream.Commit{Position: after(1),
		DeadLetters: []gerritstream.DeadLetter{d}})
	cl.remove(cl.zuul("/events")) // Zuul's delete-state
	if err := o.RedriveDeadLetter(soon(t), e); err != nil {
		t.Fatal(err)
	}
	pass, err := peers.StartReader(t, cl.kazoo(), zuulRoot).Drain(t.Context())
	if err != nil || len(pass.Events) != 1 {
		t.Fatalf("%d events, %v", len(pass.Events), err)
	}
	if got := pass.Events[0]; got.EventID != e.ID.String() || string(got.Payload) != string(e.Payload) ||
		!json.Valid(got.Payload) {
		t.Errorf("Zuul reads %s, %d bytes", got.EventID, len(got.Payload))
	}
}
