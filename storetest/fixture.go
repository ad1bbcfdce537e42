package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// fixture is what each test of the suite works with.
type fixture struct {
	t       *testing.T
	harness Harness
	state   Backend
}

// The shards of the suite.
const (
	shardA gerritstream.ShardID = "shardId-000000000000"
	shardB gerritstream.ShardID = "shardId-000000000001"
)

// soon returns a context for what must happen within Patience.
func (f *fixture) soon() context.Context {
	ctx, cancel := context.WithTimeout(f.t.Context(), f.harness.Patience)
	f.t.Cleanup(cancel)
	return ctx
}

// begin calls do in a goroutine, with a context that cancel ends.
func begin[T any](f *fixture, do func(context.Context) T) (result <-chan T, cancel context.CancelFunc) {
	ctx, cancel := context.WithCancel(f.t.Context())
	f.t.Cleanup(cancel)
	c := make(chan T, 1)
	go func() { c <- do(ctx) }()
	return c, cancel
}

// receive waits for a value.
func receive[T any](f *fixture, c <-chan T) T {
	f.t.Helper()
	select {
	case v := <-c:
		return v
	case <-f.soon().Done():
		f.t.Fatalf("nothing was received within %v", f.harness.Patience)
		panic("not reached")
	}
}

// returned checks which error a call returned.
func (f *fixture) returned(call string, err, want error) {
	f.t.Helper()
	if !errors.Is(err, want) {
		f.t.Errorf("%s returned %v, want %v", call, err, want)
	}
}

// elect has a process win a shard of epoch 0.
func (f *fixture) elect(store gerritstream.Store, shard gerritstream.ShardID) gerritstream.Term {
	f.t.Helper()
	return f.electIn(store, 0, shard)
}

func (f *fixture) electIn(store gerritstream.Store, epoch int, shard gerritstream.ShardID) gerritstream.Term {
	f.t.Helper()
	term, err := store.Campaign(f.soon(), epoch, shard)
	if err != nil {
		f.t.Fatalf("campaign for %s: %v", shard, err)
	}
	return term
}

// campaigned is what a Campaign returned.
type campaigned struct {
	term gerritstream.Term
	err  error
}

// candidate starts a Campaign.
func (f *fixture) candidate(
	store gerritstream.Store, epoch int, shard gerritstream.ShardID,
) (<-chan campaigned, context.CancelFunc) {
	return begin(f, func(ctx context.Context) campaigned {
		term, err := store.Campaign(ctx, epoch, shard)
		return campaigned{term, err}
	})
}

// notYet fails the test if a candidate's campaign ends within Settle.
func (f *fixture) notYet(won <-chan campaigned, why string) {
	f.t.Helper()
	timer := time.NewTimer(f.harness.Settle)
	defer timer.Stop()
	select {
	case c := <-won:
		f.t.Fatalf("%s: campaign returned term %v, error %v", why, c.term, c.err)
	case <-timer.C:
	}
}

// wins waits for a candidate to win.
func (f *fixture) wins(won <-chan campaigned) gerritstream.Term {
	f.t.Helper()
	c := receive(f, won)
	if c.err != nil {
		f.t.Fatalf("campaign: %v", c.err)
	}
	return c.term
}

// follows checks that a term has a greater number than an earlier one.
func (f *fixture) follows(term gerritstream.Term, earlier uint64) {
	f.t.Helper()
	if term.Number() <= earlier {
		f.t.Errorf("term %d follows term %d", term.Number(), earlier)
	}
}

// resign ends a term.
func (f *fixture) resign(term gerritstream.Term) {
	f.t.Helper()
	if err := term.Resign(f.soon()); err != nil {
		f.t.Fatalf("resign term %d: %v", term.Number(), err)
	}
}

// commit makes a commit that must succeed.
func (f *fixture) commit(term gerritstream.Term, c gerritstream.Commit) {
	f.t.Helper()
	if err := term.Commit(f.soon(), c); err != nil {
		f.t.Fatalf("commit to term %d: %v", term.Number(), err)
	}
}

// leave has a process win a shard, commit a position and resign.
func (f *fixture) leave(store gerritstream.Store, epoch int, shard gerritstream.ShardID, pos gerritstream.Position) {
	f.t.Helper()
	term := f.electIn(store, epoch, shard)
	f.commit(term, gerritstream.Commit{Position: pos})
	f.resign(term)
}

// refused makes a commit that must fail because the term is lost.
func (f *fixture) refused(term gerritstream.Term, c gerritstream.Commit) {
	f.t.Helper()
	f.returned("commit to a lost term", term.Commit(f.soon(), c), gerritstream.ErrLeadershipLost)
	f.ended(term)
}

// ended checks that a term's Context ends, with the right cause.
func (f *fixture) ended(term gerritstream.Term) {
	f.t.Helper()
	receive(f, term.Context().Done())
	if cause := context.Cause(term.Context()); !errors.Is(cause, gerritstream.ErrLeadershipLost) {
		f.t.Errorf("the context of term %d ended with %v", term.Number(), cause)
	}
}

// begins checks the position that a term began with; nil: none.
func (f *fixture) begins(term gerritstream.Term, want *gerritstream.Position) {
	f.t.Helper()
	got, ok := term.Beginning().Position, term.Beginning().Stored
	if ok != (want != nil) || ok && !samePosition(got, *want) {
		f.t.Errorf("term %d began with position %+v (%v), want %+v", term.Number(), got, ok, want)
	}
}

// positions reads an epoch's positions.
func (f *fixture) positions(store gerritstream.Store, epoch int) map[gerritstream.ShardID]gerritstream.Position {
	f.t.Helper()
	positions, err := store.Positions(f.soon(), epoch)
	if err != nil {
		f.t.Fatalf("positions of epoch %d: %v", epoch, err)
	}
	return positions
}

// stored checks a position as any process reads it; nil: none.
func (f *fixture) stored(store gerritstream.Store, epoch int, shard gerritstream.ShardID, want *gerritstream.Position) {
	f.t.Helper()
	got, ok := f.positions(store, epoch)[shard]
	if ok != (want != nil) || ok && !samePosition(got, *want) {
		f.t.Errorf("stored position of %s in epoch %d is %+v (%v), want %+v", shard, epoch, got, ok, want)
	}
}

// samePosition compares two positions as they would be stored.
func samePosition(a, b gerritstream.Position) bool {
	encode := func(p gerritstream.Position) string { return string(storekit.EncodePosition(p, gerritstream.Stamp{})) }
	return a.Unreadable == nil && b.Unreadable == nil && encode(a) == encode(b)
}

// queued checks that the queue holds exactly these entries, byte for byte, and
// those of a shard in order.
func (f *fixture) queued(want ...gerritstream.Entry) {
	f.t.Helper()
	f.judge(history.CompareEntries(want, f.state.Entries()))
}

func (f *fixture) judge(report history.Report) {
	f.t.Helper()
	if err := report.Err(); err != nil {
		f.t.Error(err)
	}
}

// deadLettered checks that exactly these dead letters are held, with all their
// fields.
func (f *fixture) deadLettered(want ...gerritstream.DeadLetter) {
	f.t.Helper()
	var wanted, held []history.Item
	known := map[gerritstream.EventID]gerritstream.DeadLetter{}
	for i := range want {
		wanted = append(wanted, history.DeadLetterItem(&want[i]))
		known[want[i].ID] = want[i]
	}
	for _, d := range f.state.DeadLetters() {
		held = append(held, history.DeadLetterItem(&d))
		if w, ok := known[d.ID]; ok && !sameDeadLetter(d, w) {
			f.t.Errorf("dead letter is held as\n%.500v\nwant\n%.500v", d, w)
		}
	}
	f.judge(history.Compare(wanted, nil, held))
}

// sameDeadLetter compares all fields of two dead letters.
func sameDeadLetter(a, b gerritstream.DeadLetter) bool {
	return a.ID == b.ID && a.Shard == b.Shard && a.Seq == b.Seq && a.Sub == b.Sub && a.Arrived.Equal(b.Arrived) &&
		a.Reason == b.Reason && a.Detail == b.Detail && string(a.Payload) == string(b.Payload) &&
		a.Length == b.Length && a.SHA256 == b.SHA256
}
