package storetest

import (
	"errors"

	"github.com/gerritstream/gerritstream"
)

// faultTests go through every write point and every fault.
var faultTests = func() []test {
	var tests []test
	for _, point := range points {
		for _, fault := range faultsAt(point) {
			tests = append(tests, test{
				name: "fault: " + string(point) + ": " + string(fault),
				run:  func(f *fixture) { f.suffer(point, fault) },
			})
		}
	}
	for _, fault := range []Fault{Refuse, ApplyButError} {
		tests = append(tests, test{
			name: "fault: a process that does not lead frees what it has: " + string(fault),
			run:  func(f *fixture) { f.free(fault) },
		})
	}
	return tests
}()

// faultsAt are the faults that can befall a write. "Retry later" is an answer
// that only a commit has.
func faultsAt(point Point) []Fault {
	faults := []Fault{Refuse, ApplyButError, CrashBefore, CrashAfter}
	if point == PointCommit {
		faults = append(faults, RetryLater)
	}
	return faults
}

// applied tells whether a write that suffered a fault took place.
func (fault Fault) applied() bool { return fault == ApplyButError || fault == CrashAfter }

func (f *fixture) suffer(point Point, fault Fault) {
	if f.state.FailNext == nil {
		f.t.Skip("this store has no fault hooks")
	}
	switch point {
	case PointSetOrigin:
		f.sufferSetOrigin(fault)
	case PointCampaign:
		f.sufferCampaign(fault)
	case PointCommit:
		f.sufferCommit(fault)
	case PointResign:
		f.sufferResign(fault)
	case PointReport:
		f.sufferReport(fault)
	case PointAdvertise:
		f.sufferAdvertise(fault)
	}
}

func (f *fixture) sufferSetOrigin(fault Fault) {
	victim, start := f.state.Open(), firstOrigin()
	f.state.FailNext(PointSetOrigin, fault)
	if err := victim.SetOrigin(f.soon(), nil, start); err == nil {
		f.t.Error("the fault did not show")
	}
	reader := f.state.Open()
	if fault.applied() {
		f.hasOrigin(reader, &start)
		return
	}
	f.hasOrigin(reader, nil)
	f.setOrigin(reader, nil, start)
}

// After a failed campaign anybody can win, and the victim did not.
func (f *fixture) sufferCampaign(fault Fault) {
	victim := f.state.Open()
	f.state.FailNext(PointCampaign, fault)
	if term, err := victim.Campaign(f.soon(), 0, shardA); err == nil {
		if fault == CrashBefore || fault == CrashAfter {
			f.t.Error("a dead process won")
		}
		f.resign(term) // a store that waits for better times may have tried again
	}
	f.commit(f.elect(f.state.Open(), shardA), step(shardA, 1, 1))
}

// After a failed commit the next term begins either with all of it or with
// nothing of it.
func (f *fixture) sufferCommit(fault Fault) {
	victim := f.state.Open()
	term := f.elect(victim, shardA)
	f.commit(term, step(shardA, 1, 2))
	c := step(shardA, 3, 4)
	c.Position, c.DeadLetters = after(5), []gerritstream.DeadLetter{deadLetter(shardA, 5)}
	f.state.FailNext(PointCommit, fault)
	err := term.Commit(f.soon(), c)
	if fault == RetryLater {
		f.retried(term, c, err)
		return
	}
	if err == nil || errors.Is(err, gerritstream.ErrRetryLater) {
		f.t.Fatalf("a commit that is to fail for good returned %v", err)
	}
	f.ended(term)
	if fault == Refuse || fault == ApplyButError {
		f.resign(term)
	}
	next := f.elect(f.state.Open(), shardA)
	if fault.applied() {
		f.begins(next, &c.Position)
		f.queued(events(shardA, 1, 4)...)
		f.deadLettered(c.DeadLetters...)
		return
	}
	want := after(2)
	f.begins(next, &want)
	f.queued(events(shardA, 1, 2)...)
	f.deadLettered()
	f.commit(next, c)
	f.queued(events(shardA, 1, 4)...)
}

// retried checks that a commit which is to be tried again wrote nothing, ended
// nothing, and can be tried again.
func (f *fixture) retried(term gerritstream.Term, c gerritstream.Commit, err error) {
	if !errors.Is(err, gerritstream.ErrRetryLater) {
		f.t.Fatalf("commit returned %v, want %v", err, gerritstream.ErrRetryLater)
	}
	want := after(2)
	f.stored(f.state.Open(), 0, shardA, &want)
	f.queued(events(shardA, 1, 2)...)
	if term.Context().Err() != nil {
		f.t.Error("the term ended")
	}
	f.commit(term, c)
	f.queued(events(shardA, 1, 4)...)
	f.deadLettered(c.DeadLetters...)
}

// After a failed resignation no commit of the term succeeds, and it can be
// repeated.
func (f *fixture) sufferResign(fault Fault) {
	victim := f.state.Open()
	term := f.elect(victim, shardA)
	f.state.FailNext(PointResign, fault)
	if err := term.Resign(f.soon()); err == nil {
		f.t.Error("the fault did not show")
	}
	f.refused(term, step(shardA, 1, 1))
	if fault == Refuse || fault == ApplyButError {
		f.resign(term)
	}
	next := f.elect(f.state.Open(), shardA)
	f.begins(next, nil)
	f.commit(next, step(shardA, 1, 1))
	f.queued(event(shardA, 1))
}

// Whatever fails as terms end and candidacies follow, and though nobody tries
// again: a process that lives and does not lead keeps the leadership from
// nobody.
func (f *fixture) free(fault Fault) {
	if f.state.FailNext == nil {
		f.t.Skip("this store has no fault hooks")
	}
	victim := f.state.Open()
	term := f.elect(victim, shardA)
	f.state.FailNext(PointCommit, fault)
	if err := term.Commit(f.soon(), gerritstream.Commit{Position: after(1)}); err == nil {
		f.t.Error("the fault did not show")
	}
	for range 2 {
		f.state.FailNext(PointCampaign, fault)
		if term, err := victim.Campaign(f.soon(), 0, shardA); err == nil { // of a store that waits for better times
			f.resign(term)
		}
	}
	f.state.FailNext(PointResign, fault)
	if err := f.elect(victim, shardA).Resign(f.soon()); err == nil {
		f.t.Error("the fault did not show")
	}
	f.commit(f.elect(f.state.Open(), shardA), step(shardA, 2, 2))
}

func (f *fixture) sufferReport(fault Fault) {
	victim, reader := f.state.Open(), f.state.Open()
	term := f.elect(victim, shardA)
	f.state.FailNext(PointReport, fault)
	if err := victim.Report(f.soon(), gerritstream.Status{Process: "a process", Stream: stream, Lagging: 3}); err == nil {
		f.t.Error("the fault did not show")
	}
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
}

// After a failed announcement the one before stands, or the new one does; the
// process goes on as it was.
func (f *fixture) sufferAdvertise(fault Fault) {
	victim, id := f.join("before")
	watcher := f.state.Open()
	term := f.elect(victim, shardA)
	f.state.FailNext(PointAdvertise, fault)
	if err := victim.Advertise(f.soon(), memberInfo("behind")); err == nil {
		f.t.Error("the fault did not show")
	}
	if fault == CrashBefore || fault == CrashAfter {
		f.awaitGroup(watcher, "that the dead process is gone", func(m gerritstream.GroupState) bool { return len(m.Members) == 0 })
		f.commit(f.elect(watcher, shardA), step(shardA, 1, 1))
		return
	}
	want := "before"
	if fault.applied() {
		want = "behind"
	}
	m := f.group(watcher)
	if len(m.Members) != 1 || m.Members[0].ID != id || m.Members[0].Info.Process != want {
		f.t.Errorf("the members are %+v, want one that is %q", m.Members, want)
	}
	f.commit(term, step(shardA, 1, 1))
}
