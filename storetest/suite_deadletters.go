package storetest

import (
	"errors"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// letterTests are what is promised of dead letters to an operator.
var deadLetterTests = []test{
	{"operator: dead letters are shown, the newest first, with all their fields", lettersShown},
	{"operator: more dead letters than one look takes, dropped meanwhile", lettersMany},
	{"operator: a dead letter that is not held is not found", letterMissing},
	{"operator: dropped dead letters are gone", lettersDropped},
	{"operator: a dead letter is retried", letterRetried},
	{"operator: a retry that finds the entry queued", retryQueued},
	{"operator: a dead letter that is not held is not retried", retryMissing},
	{"operator: a dead letter that was cut is not retried", retryCut},
	{"operator: two who retry the same dead letter queue it once", retryTwice},
	{"operator: a retry ends no term", retryBesideTerm},
}

// aside has dead letters put aside, one commit each, oldest first.
func (f *fixture) commitDeadLetters(letters ...gerritstream.DeadLetter) {
	f.t.Helper()
	term := f.elect(f.state.Open(), shardA)
	for i, d := range letters {
		f.commit(term, gerritstream.Commit{Position: after(i + 1), DeadLetters: []gerritstream.DeadLetter{d}})
	}
	f.resign(term)
}

// letters reads all dead letters.
func (f *fixture) listed(o gerritstream.Operator) (letters []gerritstream.StoredDeadLetter) {
	f.t.Helper()
	for l, err := range o.DeadLetters(f.soon()) {
		if err != nil {
			f.t.Fatalf("letters: %v", err)
		}
		letters = append(letters, l)
	}
	return letters
}

func lettersShown(f *fixture) {
	o := f.operator()
	if n := len(f.listed(o)); n != 0 {
		f.t.Errorf("an empty store holds %d dead letters", n)
	}
	before := time.Now().Truncate(time.Millisecond)
	want := []gerritstream.DeadLetter{
		deadLetter(shardA, 1), deadLetterWith(shardB, 2, make([]byte, gerritstream.MaxDeadLetterBytes+1)), deadLetterWith(shardA, 3, nil),
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
			f.t.Errorf("letter %s: %v", w.ID, err)
		}
		for _, g := range []gerritstream.StoredDeadLetter{got[i], one} {
			if !sameDeadLetter(g.DeadLetter, w) {
				f.t.Errorf("dead letter is shown as\n%.500v\nwant\n%.500v", g, w)
			}
			if g.StoredAt.Before(before) || g.StoredAt.After(time.Now().Add(time.Second)) {
				f.t.Errorf("it was put aside at %v, not after %v", g.StoredAt, before)
			}
		}
	}
}

func lettersMany(f *fixture) {
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
}

func letterMissing(f *fixture) {
	o := f.operator()
	f.commitDeadLetters(deadLetter(shardA, 1))
	if _, err := o.DeadLetter(f.soon(), deadLetter(shardA, 2).ID); !errors.Is(err, gerritstream.ErrNoDeadLetter) {
		f.t.Errorf("letter returned %v, want %v", err, gerritstream.ErrNoDeadLetter)
	}
}

func lettersDropped(f *fixture) {
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
}

// pardon makes a dead letter of a record that is sound, and the entry that it
// becomes.
func redrivable(n int) (gerritstream.DeadLetter, gerritstream.Entry) {
	e := event(shardA, n)
	return deadLetterWith(shardA, n, e.Payload), e
}

func letterRetried(f *fixture) {
	o := f.operator()
	d, e := redrivable(1)
	other := deadLetter(shardA, 2)
	f.commitDeadLetters(d, other)
	if err := o.RedriveDeadLetter(f.soon(), e); err != nil {
		f.t.Fatalf("retry: %v", err)
	}
	f.queued(e)
	f.deadLettered(other)
	if err := o.RedriveDeadLetter(f.soon(), e); !errors.Is(err, gerritstream.ErrNoDeadLetter) {
		f.t.Errorf("a second retry returned %v, want %v", err, gerritstream.ErrNoDeadLetter)
	}
	f.queued(e)
}

func retryQueued(f *fixture) {
	o := f.operator()
	d, e := redrivable(1)
	term := f.elect(f.state.Open(), shardA)
	f.commit(term, gerritstream.Commit{Position: after(1), Entries: []gerritstream.Entry{e}, DeadLetters: []gerritstream.DeadLetter{d}})
	if err := o.RedriveDeadLetter(f.soon(), e); err != nil {
		f.t.Fatalf("retry: %v", err)
	}
	if f.harness.Deduplicates {
		f.queued(e)
	}
	f.deadLettered()
}

func retryMissing(f *fixture) {
	o := f.operator()
	d, _ := redrivable(1)
	f.commitDeadLetters(d)
	_, e := redrivable(2)
	if err := o.RedriveDeadLetter(f.soon(), e); !errors.Is(err, gerritstream.ErrNoDeadLetter) {
		f.t.Errorf("retry returned %v, want %v", err, gerritstream.ErrNoDeadLetter)
	}
	f.queued()
	f.deadLettered(d)
}

func retryCut(f *fixture) {
	o := f.operator()
	e := eventWith(shardA, 1, make([]byte, gerritstream.MaxDeadLetterBytes+1))
	d := deadLetterWith(shardA, 1, e.Payload)
	f.commitDeadLetters(d)
	e.Payload = d.Payload
	if err := o.RedriveDeadLetter(f.soon(), e); !errors.Is(err, gerritstream.ErrTruncated) {
		f.t.Errorf("retry returned %v, want %v", err, gerritstream.ErrTruncated)
	}
	f.queued()
	f.deadLettered(d)
}

func retryTwice(f *fixture) {
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
			f.t.Errorf("retry: %v", err)
		}
	}
	if won != 1 {
		f.t.Errorf("%d retries succeeded, want 1", won)
	}
	f.queued(e)
	f.deadLettered()
}

func retryBesideTerm(f *fixture) {
	o := f.operator()
	d, e := redrivable(1)
	f.commitDeadLetters(d)
	term := f.elect(f.state.Open(), shardA)
	if err := o.RedriveDeadLetter(f.soon(), e); err != nil {
		f.t.Fatalf("retry: %v", err)
	}
	f.commit(term, step(shardA, 2, 2))
	f.queued(e, event(shardA, 2))
}
