package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
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

// soon is a context for what must happen within Patience.
func (f *fixture) soon() context.Context {
	ctx, cancel := context.WithTimeout(f.t.Context(), f.harness.Patience)
	f.t.Cleanup(cancel)
	return ctx
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

// result is what a Campaign returned.
type result struct {
	term gerritstream.Term
	err  error
}

// candidate starts a Campaign that ends with cancel.
func (f *fixture) candidate(store gerritstream.Store, epoch int, shard gerritstream.ShardID) (<-chan result, context.CancelFunc) {
	ctx, cancel := context.WithCancel(f.t.Context())
	f.t.Cleanup(cancel)
	won := make(chan result, 1)
	go func() {
		term, err := store.Campaign(ctx, epoch, shard)
		won <- result{term, err}
	}()
	return won, cancel
}

// notYet fails the test if anything comes within Settle.
func (f *fixture) notYet(won <-chan result, why string) {
	f.t.Helper()
	timer := time.NewTimer(f.harness.Settle)
	defer timer.Stop()
	select {
	case r := <-won:
		f.t.Fatalf("%s: campaign returned term %v, error %v", why, r.term, r.err)
	case <-timer.C:
	}
}

// wins waits for a candidate to win.
func (f *fixture) wins(won <-chan result) gerritstream.Term {
	f.t.Helper()
	select {
	case r := <-won:
		if r.err != nil {
			f.t.Fatalf("campaign: %v", r.err)
		}
		return r.term
	case <-f.soon().Done():
		f.t.Fatal("a candidate did not win a free leadership")
		return nil
	}
}

// receive waits for what comes by a channel.
func receive[T any](f *fixture, c <-chan T) T {
	f.t.Helper()
	select {
	case v := <-c:
		return v
	case <-f.soon().Done():
		f.t.Fatal("what was waited for did not come")
		panic("not reached")
	}
}

// resign ends a term.
func (f *fixture) resign(term gerritstream.Term) {
	f.t.Helper()
	if err := term.Resign(f.soon()); err != nil {
		f.t.Fatalf("resign term %d: %v", term.Number(), err)
	}
}

// commit commits what must succeed.
func (f *fixture) commit(term gerritstream.Term, c gerritstream.Commit) {
	f.t.Helper()
	if err := term.Commit(f.soon(), c); err != nil {
		f.t.Fatalf("commit to term %d: %v", term.Number(), err)
	}
}

// refused commits what must fail because the term is lost.
func (f *fixture) refused(term gerritstream.Term, c gerritstream.Commit) {
	f.t.Helper()
	if err := term.Commit(f.soon(), c); !errors.Is(err, gerritstream.ErrLeadershipLost) {
		f.t.Errorf("commit to a lost term returned %v, want %v", err, gerritstream.ErrLeadershipLost)
	}
	f.ended(term)
}

// ended checks that a term's Context ends, with the right cause.
func (f *fixture) ended(term gerritstream.Term) {
	f.t.Helper()
	select {
	case <-term.Context().Done():
	case <-f.soon().Done():
		f.t.Fatalf("the context of term %d did not end", term.Number())
	}
	if cause := context.Cause(term.Context()); !errors.Is(cause, gerritstream.ErrLeadershipLost) {
		f.t.Errorf("the context of term %d ended with %v, want %v", term.Number(), cause, gerritstream.ErrLeadershipLost)
	}
}

// begins checks the position that a term began with. nil: none.
func (f *fixture) begins(term gerritstream.Term, want *gerritstream.Position) {
	f.t.Helper()
	got, ok := term.Beginning().Position, term.Beginning().Stored
	switch {
	case want == nil && ok:
		f.t.Errorf("term %d has position %+v, want none", term.Number(), got)
	case want != nil && !ok:
		f.t.Errorf("term %d has no position, want %+v", term.Number(), *want)
	case want != nil && !samePosition(got, *want):
		f.t.Errorf("term %d has position %+v, want %+v", term.Number(), got, *want)
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

// stored checks one position as any process reads it. nil: none.
func (f *fixture) stored(store gerritstream.Store, epoch int, shard gerritstream.ShardID, want *gerritstream.Position) {
	f.t.Helper()
	got, ok := f.positions(store, epoch)[shard]
	if ok != (want != nil) || ok && !samePosition(got, *want) {
		f.t.Errorf("stored position of %s in epoch %d is %+v (%v), want %+v", shard, epoch, got, ok, want)
	}
}

// samePosition compares two positions as they would be stored.
func samePosition(a, b gerritstream.Position) bool {
	if a.Unreadable != nil || b.Unreadable != nil {
		return false
	}
	return string(storekit.EncodePosition(a, gerritstream.Stamp{})) ==
		string(storekit.EncodePosition(b, gerritstream.Stamp{}))
}

// queued checks that the queue holds exactly these entries: each one once,
// those of a shard in this order, byte for byte.
func (f *fixture) queued(want ...gerritstream.Entry) {
	f.t.Helper()
	shardOf := map[gerritstream.EventID]gerritstream.ShardID{}
	wantBy := map[gerritstream.ShardID][]string{}
	for _, e := range want {
		shardOf[e.ID] = e.Shard
		wantBy[e.Shard] = append(wantBy[e.Shard], e.ID.String()+" "+string(e.Payload))
	}
	gotBy := map[gerritstream.ShardID][]string{}
	for _, e := range f.state.Entries() {
		shard, ok := shardOf[e.ID]
		if !ok {
			f.t.Errorf("the queue holds %s, which it should not", e.ID)
		}
		gotBy[shard] = append(gotBy[shard], e.ID.String()+" "+string(e.Payload))
	}
	for shard, entries := range wantBy {
		if got := gotBy[shard]; !slices.Equal(got, entries) {
			f.t.Errorf("the queue holds for %s\n%.500q\nwant\n%.500q", shard, got, entries)
		}
	}
}

// putAside checks that exactly these dead letters are held, with all their
// fields.
func (f *fixture) deadLettered(want ...gerritstream.DeadLetter) {
	f.t.Helper()
	got := map[gerritstream.EventID]gerritstream.DeadLetter{}
	for _, d := range f.state.DeadLetters() {
		if _, twice := got[d.ID]; twice {
			f.t.Errorf("dead letter %s is held twice", d.ID)
		}
		got[d.ID] = d
	}
	if len(got) != len(want) {
		f.t.Errorf("%d dead letters are held, want %d", len(got), len(want))
	}
	for _, w := range want {
		if g, ok := got[w.ID]; !ok {
			f.t.Errorf("dead letter %s is not held", w.ID)
		} else if !sameDeadLetter(g, w) {
			f.t.Errorf("dead letter is held as\n%.500v\nwant\n%.500v", g, w)
		}
	}
}

// sameLetter compares all fields of two dead letters.
func sameDeadLetter(a, b gerritstream.DeadLetter) bool {
	return a.ID == b.ID && a.Shard == b.Shard && a.Seq == b.Seq && a.Sub == b.Sub && a.Arrived.Equal(b.Arrived) &&
		a.Reason == b.Reason && a.Detail == b.Detail && string(a.Payload) == string(b.Payload) &&
		a.Length == b.Length && a.SHA256 == b.SHA256
}
