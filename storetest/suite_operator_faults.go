package storetest

import (
	"errors"

	"github.com/gerritstream/gerritstream"
)

// operatorFaultTests go through every write point of an operator. An operator
// that dies leaves nothing behind that these faults do not.
var operatorFaultTests = func() []test {
	var tests []test
	for point, run := range map[Point]func(*fixture, Fault){
		PointSetPosition:     (*fixture).sufferSetPosition,
		PointRemovePositions: (*fixture).sufferRemovePositions,
		PointDropDeadLetters: (*fixture).sufferDropDeadLetters,
		PointRedrive:         (*fixture).sufferRedrive,
	} {
		for _, fault := range []Fault{Refuse, ApplyButError} {
			tests = append(tests, test{
				name: "operator: fault: " + string(point) + ": " + string(fault),
				run: func(f *fixture) {
					if f.state.FailNext == nil {
						f.t.Skip("this store has no fault hooks")
					}
					run(f, fault)
				},
			})
		}
	}
	return tests
}()

// showed checks that a fault showed.
func (f *fixture) showed(err error) {
	f.t.Helper()
	if !errors.Is(err, ErrInjected) {
		f.t.Errorf("the fault showed as %v", err)
	}
}

// After a failed change either all of it counts or nothing of it, for the
// position and for the term alike.
func (f *fixture) sufferSetPosition(fault Fault) {
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
}

func (f *fixture) sufferRemovePositions(fault Fault) {
	o := f.operator()
	f.ends(f.state.Open(), 0, shardA)
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
}

func (f *fixture) sufferDropDeadLetters(fault Fault) {
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
	if n, err := o.DropDeadLetters(f.soon(), []gerritstream.EventID{d.ID}); err != nil || (n == 0) != fault.applied() {
		f.t.Errorf("%d dropped by the second call, error %v", n, err)
	}
	f.deadLettered()
}

// After a failed retry the record is either in the queue or among the dead
// letters, never in both, never in neither.
func (f *fixture) sufferRedrive(fault Fault) {
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
}
