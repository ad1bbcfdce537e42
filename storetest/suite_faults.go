package storetest

import (
	"errors"

	"github.com/gerritstream/gerritstream"
)

// Faults of a call, and those that end its process as well. "Retry later" is an
// answer that only a commit has.
var (
	failingFaults = []Fault{Refuse, ApplyButError}
	everyFault    = []Fault{Refuse, ApplyButError, CrashBefore, CrashAfter}
)

// faultTests go through every write point and every fault.
var faultTests = func() (tests []test) {
	for _, m := range faultMatrix {
		for _, fault := range m.faults {
			tests = append(tests, test{m.name + ": " + string(fault), func(f *fixture) {
				if f.state.FailNext == nil {
					f.t.Skip("this store has no fault hooks")
				}
				m.run(f, fault)
			}})
		}
	}
	return tests
}()

// faultMatrix has a test for every write point. An operator that dies leaves
// nothing behind that its other faults do not.
var faultMatrix = []struct {
	name   string
	faults []Fault
	run    func(f *fixture, fault Fault)
}{
	{"fault: " + string(PointSetOrigin), everyFault, func(f *fixture, fault Fault) {
		victim, origin := f.state.Open(), firstOrigin()
		f.state.FailNext(PointSetOrigin, fault)
		f.fails(victim.SetOrigin(f.soon(), nil, origin))
		reader := f.state.Open()
		if fault.applied() {
			f.hasOrigin(reader, &origin)
			return
		}
		f.hasOrigin(reader, nil)
		f.setOrigin(reader, nil, origin)
	}},
	// After a failed campaign any process can win, and the victim has not won.
	{"fault: " + string(PointCampaign), everyFault, func(f *fixture, fault Fault) {
		victim := f.state.Open()
		f.state.FailNext(PointCampaign, fault)
		if term, err := victim.Campaign(f.soon(), 0, shardA); err == nil {
			if fault.crashes() {
				f.t.Error("a dead process won")
			}
			f.resign(term) // the store may have tried again
		}
		f.commit(f.elect(f.state.Open(), shardA), step(shardA, 1, 1))
	}},
	// After a failed commit the next term begins with all of the commit or with
	// nothing of it.
	{"fault: " + string(PointCommit), append(everyFault, RetryLater), func(f *fixture, fault Fault) {
		victim := f.state.Open()
		term := f.elect(victim, shardA)
		f.commit(term, step(shardA, 1, 2))
		c := step(shardA, 3, 4)
		c.Position, c.DeadLetters = after(5), []gerritstream.DeadLetter{deadLetter(shardA, 5)}
		f.state.FailNext(PointCommit, fault)
		err := term.Commit(f.soon(), c)
		if fault == RetryLater {
			f.retry(term, c, err)
			return
		}
		if err == nil || errors.Is(err, gerritstream.ErrRetryLater) {
			f.t.Fatalf("a commit that must fail for good returned %v", err)
		}
		f.ended(term)
		if !fault.crashes() {
			f.resign(term)
		}
		next := f.elect(f.state.Open(), shardA)
		if fault.applied() {
			f.begins(next, &c.Position)
			f.queued(events(shardA, 1, 4)...)
			f.deadLettered(c.DeadLetters...)
			return
		}
		f.begins(next, new(after(2)))
		f.queued(events(shardA, 1, 2)...)
		f.deadLettered()
		f.commit(next, c)
		f.queued(events(shardA, 1, 4)...)
	}},
	// After a failed resignation no commit of the term succeeds, and it can be
	// repeated.
	{"fault: " + string(PointResign), everyFault, func(f *fixture, fault Fault) {
		victim := f.state.Open()
		term := f.elect(victim, shardA)
		f.state.FailNext(PointResign, fault)
		f.fails(term.Resign(f.soon()))
		f.refused(term, step(shardA, 1, 1))
		if !fault.crashes() {
			f.resign(term)
		}
		next := f.elect(f.state.Open(), shardA)
		f.begins(next, nil)
		f.commit(next, step(shardA, 1, 1))
		f.queued(event(shardA, 1))
	}},
	{"fault: " + string(PointReport), everyFault, func(f *fixture, fault Fault) {
		victim, reader := f.state.Open(), f.state.Open()
		term := f.elect(victim, shardA)
		f.state.FailNext(PointReport, fault)
		f.fails(victim.Report(f.soon(), gerritstream.Status{Process: "a process", Stream: stream, Lagging: 3}))
		switch fault {
		case Refuse:
			if n := len(f.inspect(reader).Reports); n != 0 {
				f.t.Errorf("%d reports after a refused one", n)
			}
			f.commit(term, step(shardA, 1, 1)) // a report is for people: its failure ends nothing
		case ApplyButError:
			f.shows(reader, 3)
			f.commit(term, step(shardA, 1, 1))
		default:
			f.commit(f.elect(reader, shardA), step(shardA, 1, 1))
		}
	}},
	// After a failed advertising the old or the new member info counts; the
	// process goes on as it was.
	{"fault: " + string(PointAdvertise), everyFault, func(f *fixture, fault Fault) {
		victim, id := f.join("before")
		watcher := f.state.Open()
		term := f.elect(victim, shardA)
		f.state.FailNext(PointAdvertise, fault)
		f.fails(victim.Advertise(f.soon(), memberInfo("after")))
		if fault.crashes() {
			gone := func(m gerritstream.GroupState) bool { return len(m.Members) == 0 }
			f.awaitGroup(watcher, "that the dead process is gone", gone)
			f.commit(f.elect(watcher, shardA), step(shardA, 1, 1))
			return
		}
		want := "before"
		if fault.applied() {
			want = "after"
		}
		m := f.group(watcher)
		if len(m.Members) != 1 || m.Members[0].ID != id || m.Members[0].Info.Process != want {
			f.t.Errorf("the members are %+v, want one that is %q", m.Members, want)
		}
		f.commit(term, step(shardA, 1, 1))
	}},
	// Whatever fails as terms end and candidacies follow, and even if no call
	// is retried, a live process that does not lead keeps nobody else from
	// leading.
	{"fault: a process that does not lead frees what it has", failingFaults, func(f *fixture, fault Fault) {
		victim := f.state.Open()
		term := f.elect(victim, shardA)
		f.state.FailNext(PointCommit, fault)
		f.fails(term.Commit(f.soon(), gerritstream.Commit{Position: after(1)}))
		for range 2 {
			f.state.FailNext(PointCampaign, fault)
			if term, err := victim.Campaign(f.soon(), 0, shardA); err == nil { // the store tried again
				f.resign(term)
			}
		}
		f.state.FailNext(PointResign, fault)
		f.fails(f.elect(victim, shardA).Resign(f.soon()))
		f.commit(f.elect(f.state.Open(), shardA), step(shardA, 2, 2))
	}},
	// After a failed change all of it counts or nothing, for the position and
	// for the term alike.
	{"operator: fault: " + string(PointSetPosition), failingFaults, func(f *fixture, fault Fault) {
		o, store := f.operator(), f.state.Open()
		term, old, set := f.elect(store, shardA), after(4), after(1)
		f.commit(term, step(shardA, 1, 4))
		f.state.FailNext(PointSetPosition, fault)
		f.showed(o.SetPosition(f.soon(), 0, shardA, to(set)))
		if fault.applied() {
			f.stored(store, 0, shardA, &set)
			f.refused(term, step(shardA, 5, 5))
		} else {
			f.stored(store, 0, shardA, &old)
			f.commit(term, step(shardA, 5, 5))
		}
		f.set(o, shardA, set)
		f.refused(term, step(shardA, 6, 6))
		f.begins(f.elect(f.state.Open(), shardA), &set)
	}},
	{"operator: fault: " + string(PointRemovePositions), failingFaults, func(f *fixture, fault Fault) {
		o := f.operator()
		f.leave(f.state.Open(), 0, shardA, endedAfter(5))
		which := []gerritstream.PositionKey{{Epoch: 0, Shard: shardA}}
		f.state.FailNext(PointRemovePositions, fault)
		_, err := o.RemovePositions(f.soon(), which)
		f.showed(err)
		if _, ok := f.held(o).Positions[shardA]; ok == fault.applied() {
			f.t.Errorf("the position is held: %v", ok)
		}
		if n, err := o.RemovePositions(f.soon(), which); err != nil || (n == 0) != fault.applied() {
			f.t.Errorf("%d removed by the second call, error %v", n, err)
		}
	}},
	{"operator: fault: " + string(PointDropDeadLetters), failingFaults, func(f *fixture, fault Fault) {
		o := f.operator()
		d := deadLetter(shardA, 1)
		f.commitDeadLetters(d)
		f.state.FailNext(PointDropDeadLetters, fault)
		_, err := o.DropDeadLetters(f.soon(), []gerritstream.EventID{d.ID})
		f.showed(err)
		if fault.applied() {
			f.deadLettered()
		} else {
			f.deadLettered(d)
		}
		n, err := o.DropDeadLetters(f.soon(), []gerritstream.EventID{d.ID})
		if err != nil || (n == 0) != fault.applied() {
			f.t.Errorf("%d dropped by the second call, error %v", n, err)
		}
		f.deadLettered()
	}},
	// After a failed redrive the record is in the queue or among the dead
	// letters, never in both or neither.
	{"operator: fault: " + string(PointRedrive), failingFaults, func(f *fixture, fault Fault) {
		o := f.operator()
		d, e := redrivable(1)
		f.commitDeadLetters(d)
		f.state.FailNext(PointRedrive, fault)
		f.showed(o.RedriveDeadLetter(f.soon(), e))
		if fault.applied() {
			f.queued(e)
			f.deadLettered()
		} else {
			f.queued()
			f.deadLettered(d)
		}
		err := o.RedriveDeadLetter(f.soon(), e)
		if fault.applied() != errors.Is(err, gerritstream.ErrNoDeadLetter) {
			f.t.Errorf("the second call returned %v", err)
		}
		f.queued(e)
		f.deadLettered()
	}},
}

// applied reports whether a write that suffered a fault took place.
func (fault Fault) applied() bool { return fault == ApplyButError || fault == CrashAfter }

// crashes reports whether the process died.
func (fault Fault) crashes() bool { return fault == CrashBefore || fault == CrashAfter }

// fails checks that a fault showed.
func (f *fixture) fails(err error) {
	f.t.Helper()
	if err == nil {
		f.t.Error("the fault did not show")
	}
}

// retry checks that a commit that may be retried wrote nothing and ended
// nothing, and retries it.
func (f *fixture) retry(term gerritstream.Term, c gerritstream.Commit, err error) {
	if !errors.Is(err, gerritstream.ErrRetryLater) {
		f.t.Fatalf("commit returned %v, want %v", err, gerritstream.ErrRetryLater)
	}
	f.stored(f.state.Open(), 0, shardA, new(after(2)))
	f.queued(events(shardA, 1, 2)...)
	if term.Context().Err() != nil {
		f.t.Error("the term ended")
	}
	f.commit(term, c)
	f.queued(events(shardA, 1, 4)...)
	f.deadLettered(c.DeadLetters...)
}

// showed checks that an operator was told of the fault.
func (f *fixture) showed(err error) {
	f.t.Helper()
	if !errors.Is(err, ErrInjected) {
		f.t.Errorf("the fault showed as %v", err)
	}
}
