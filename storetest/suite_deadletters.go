package storetest

import (
	"errors"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// deadLetterTests hold what is promised to an operator about dead letters.
var deadLetterTests = []test{
	{"operator: dead letters are shown, the newest first, with all their fields", func(f *fixture) {
		o := f.operator()
		if n := len(f.listed(o)); n != 0 {
			f.t.Errorf("an empty store holds %d dead letters", n)
		}
		before := time.Now().Truncate(time.Millisecond)
		want := []gerritstream.DeadLetter{
			deadLetter(shardA, 1), deadLetterWith(shardB, 2, make([]byte, gerritstream.MaxDeadLetterBytes+1)),
			deadLetterWith(shardA, 3, nil),
		}
		want[1].Sub = 4
		f.commitDeadLetters(want...)
		slices.Reverse(want)
		got := f.listed(o)
		if len(got) != len(want) {
			f.t.Fatalf("%d dead letters are shown, want %d", len(got), len(want))
		}
		for i, w := range want {
			one, err := o.DeadLetter(f.soon(), w.ID)
			if err != nil {
				f.t.Errorf("dead letter %s: %v", w.ID, err)
			}
			for _, g := range []gerritstream.StoredDeadLetter{got[i], one} {
				if !sameDeadLetter(g.DeadLetter, w) {
					f.t.Errorf("dead letter is shown as\n%.500v\nwant\n%.500v", g, w)
				}
				if g.StoredAt.Before(before) || g.StoredAt.After(time.Now().Add(time.Second)) {
					f.t.Errorf("dead letter is of %v, not after %v", g.StoredAt, before)
				}
			}
		}
	}},
	{"operator: more dead letters than one read takes, some dropped meanwhile", func(f *fixture) {
		o := f.operator()
		const many = 60
		term := f.elect(f.state.Open(), shardA)
		for n := 1; n <= many; n += 10 {
			c := gerritstream.Commit{Position: after(n + 9)}
			for i := range 10 {
				c.DeadLetters = append(c.DeadLetters, deadLetter(shardA, n+i))
			}
			f.commit(term, c)
		}
		seen, dropped := map[gerritstream.EventID]bool{}, 0
		for l, err := range o.DeadLetters(f.soon()) {
			if err != nil {
				f.t.Fatal(err)
			}
			if seen[l.DeadLetter.ID] {
				f.t.Errorf("%s is shown twice", l.DeadLetter.ID)
			}
			if seen[l.DeadLetter.ID] = true; len(seen)%2 == 0 {
				n, err := o.DropDeadLetters(f.soon(), []gerritstream.EventID{l.DeadLetter.ID})
				if err != nil || n != 1 {
					f.t.Errorf("%d dropped, error %v", n, err)
				}
				dropped += n
			}
		}
		if left := len(f.listed(o)); len(seen) != many || left != many-dropped {
			f.t.Errorf("%d of %d were shown, and %d are left of %d", len(seen), many, left, many-dropped)
		}
	}},
	{"operator: a dead letter that is not held is not found", func(f *fixture) {
		o := f.operator()
		f.commitDeadLetters(deadLetter(shardA, 1))
		_, err := o.DeadLetter(f.soon(), deadLetter(shardA, 2).ID)
		f.returned("dead letter", err, gerritstream.ErrNoDeadLetter)
	}},
	{"operator: dropped dead letters are gone", func(f *fixture) {
		o := f.operator()
		a, b, c := deadLetter(shardA, 1), deadLetter(shardB, 2), deadLetter(shardA, 3)
		f.commitDeadLetters(a, b, c)
		drop := func(want int, ids ...gerritstream.EventID) {
			f.t.Helper()
			if n, err := o.DropDeadLetters(f.soon(), ids); err != nil || n != want {
				f.t.Errorf("%d dropped, error %v, want %d", n, err, want)
			}
		}
		drop(0)
		drop(0, deadLetter(shardA, 4).ID)
		drop(2, a.ID, deadLetter(shardA, 4).ID, c.ID)
		f.deadLettered(b)
		drop(0, a.ID)
		drop(1, b.ID)
		f.deadLettered()
		f.queued()
		f.commitDeadLetters(a) // the same record, read again
		f.deadLettered(a)
	}},
	{"operator: a dead letter is redriven", func(f *fixture) {
		o := f.operator()
		d, e := redrivable(1)
		other := deadLetter(shardA, 2)
		f.commitDeadLetters(d, other)
		f.redrive(o, e)
		f.queued(e)
		f.deadLettered(other)
		f.returned("a second redrive", o.RedriveDeadLetter(f.soon(), e), gerritstream.ErrNoDeadLetter)
		f.queued(e)
	}},
	{"operator: a redrive that finds the entry queued", func(f *fixture) {
		o := f.operator()
		d, e := redrivable(1)
		term := f.elect(f.state.Open(), shardA)
		c := step(shardA, 1, 1)
		c.DeadLetters = []gerritstream.DeadLetter{d}
		f.commit(term, c)
		f.redrive(o, e)
		if f.harness.Deduplicates {
			f.queued(e)
		}
		f.deadLettered()
	}},
	{"operator: a dead letter that is not held is not redriven", func(f *fixture) {
		o := f.operator()
		d, _ := redrivable(1)
		f.commitDeadLetters(d)
		_, e := redrivable(2)
		f.returned("redrive", o.RedriveDeadLetter(f.soon(), e), gerritstream.ErrNoDeadLetter)
		f.queued()
		f.deadLettered(d)
	}},
	{"operator: a truncated dead letter is not redriven", func(f *fixture) {
		o := f.operator()
		e := eventWith(shardA, 1, make([]byte, gerritstream.MaxDeadLetterBytes+1))
		d := deadLetterWith(shardA, 1, e.Payload)
		f.commitDeadLetters(d)
		e.Payload = d.Payload
		f.returned("redrive", o.RedriveDeadLetter(f.soon(), e), gerritstream.ErrTruncated)
		f.queued()
		f.deadLettered(d)
	}},
	{"operator: two who redrive the same dead letter queue it once", func(f *fixture) {
		o, other := f.operator(), f.openOperator()
		d, e := redrivable(1)
		f.commitDeadLetters(d)
		done := make(chan error, 4)
		for _, op := range []gerritstream.Operator{o, other, o, other} {
			go func() { done <- op.RedriveDeadLetter(f.soon(), e) }()
		}
		won := 0
		for range 4 {
			switch err := receive(f, done); {
			case err == nil:
				won++
			case !errors.Is(err, gerritstream.ErrNoDeadLetter):
				f.t.Errorf("redrive: %v", err)
			}
		}
		if won != 1 {
			f.t.Errorf("%d redrives succeeded, want 1", won)
		}
		f.queued(e)
		f.deadLettered()
	}},
	{"operator: a redrive ends no term", func(f *fixture) {
		o := f.operator()
		d, e := redrivable(1)
		f.commitDeadLetters(d)
		term := f.elect(f.state.Open(), shardA)
		f.redrive(o, e)
		f.commit(term, step(shardA, 2, 2))
		f.queued(e, event(shardA, 2))
	}},
}

// commitDeadLetters commits dead letters, one each time, oldest first.
func (f *fixture) commitDeadLetters(dead ...gerritstream.DeadLetter) {
	f.t.Helper()
	term := f.elect(f.state.Open(), shardA)
	for i, d := range dead {
		f.commit(term, gerritstream.Commit{Position: after(i + 1), DeadLetters: []gerritstream.DeadLetter{d}})
	}
	f.resign(term)
}

// listed reads all dead letters.
func (f *fixture) listed(o gerritstream.Operator) (dead []gerritstream.StoredDeadLetter) {
	f.t.Helper()
	for l, err := range o.DeadLetters(f.soon()) {
		if err != nil {
			f.t.Fatalf("dead letters: %v", err)
		}
		dead = append(dead, l)
	}
	return dead
}

// redrive makes an entry of a dead letter, which must succeed.
func (f *fixture) redrive(o gerritstream.Operator, e gerritstream.Entry) {
	f.t.Helper()
	if err := o.RedriveDeadLetter(f.soon(), e); err != nil {
		f.t.Fatalf("redrive: %v", err)
	}
}

// redrivable returns a dead letter of a sound record, and the entry that it
// becomes.
func redrivable(n int) (gerritstream.DeadLetter, gerritstream.Entry) {
	e := event(shardA, n)
	return deadLetterWith(shardA, n, e.Payload), e
}
