package kinesis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

// follower reads a shard as a consumer does: it drops what is covered already,
// and nothing else. It checks what every page claims.
type follower struct {
	w      *world
	shard  gerritstream.ShardID
	cancel context.CancelFunc
	done   chan struct{}
	slow   func(gerritstream.Page) // what a page's commit takes; nil: no time

	mu     sync.Mutex
	pos    gerritstream.Position // under mu
	got    []string              // under mu
	delays []time.Duration       // under mu: from a record's arrival to its coming
	errs   []error               // under mu
	proofs int                   // under mu: pages that prove to be at the tip
	proved time.Time             // under mu: the latest of them that was checked
	again  int                   // under mu: records that came again
	ended  bool                  // under mu
	kids   []gerritstream.ShardID
}

// follow starts to read a shard from a position.
func (w *world) follow(shard gerritstream.ShardID, from gerritstream.Position) *follower {
	return w.followSlowly(shard, from, nil)
}

func (w *world) followSlowly(shard gerritstream.ShardID, from gerritstream.Position,
	slow func(gerritstream.Page)) *follower {
	ctx, cancel := context.WithCancel(w.t.Context())
	f := &follower{w: w, shard: shard, cancel: cancel, done: make(chan struct{}), slow: slow, pos: from}
	go func() {
		defer close(f.done)
		for p, err := range w.src.Read(ctx, shard, from) {
			f.take(p, err)
			if f.slow != nil && err == nil {
				f.slow(p)
			}
			if p.Done != nil {
				p.Done()
			}
		}
	}()
	return f
}

// stop ends the reading and waits for that.
func (f *follower) stop() {
	f.cancel()
	<-f.done
}

func (f *follower) take(p gerritstream.Page, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			f.errs = append(f.errs, err)
		}
		return
	}
	for i, r := range p.Records {
		if i > 0 && cmp.Or(r.Seq.Compare(p.Records[i-1].Seq), r.Sub-p.Records[i-1].Sub) <= 0 {
			f.w.t.Errorf("%s %d comes after %s %d", r.Seq, r.Sub, p.Records[i-1].Seq, p.Records[i-1].Sub)
		}
		if f.pos.Covers(r.Seq, r.Sub) {
			f.again++
			continue
		}
		if f.pos.Partial = nil; r.Last {
			f.pos.After = r.Seq
		} else {
			f.pos.Partial = &gerritstream.Partial{Seq: r.Seq, Sub: r.Sub}
		}
		f.got = append(f.got, string(r.Data))
		f.delays = append(f.delays, time.Since(r.Arrived))
	}
	if now := f.w.srv.Now(); p.Now.After(now) {
		f.w.t.Errorf("the page's time %s is later than the service's, %s", p.Now, now)
	} else if age := now.Sub(p.Now); age > time.Minute {
		f.w.t.Errorf("the page's time is %s old", age)
	}
	if len(p.Records) == 0 && p.Lag == 0 && !p.End {
		f.proofs++
		if p.Now.Sub(f.proved) >= 5*time.Second { // it is expensive
			f.proved = p.Now
			f.checkProof(p.Now)
		}
	}
	f.ended, f.kids = p.End, p.Children
}

// checkProof fails if a record arrived before a time and has not come.
func (f *follower) checkProof(until time.Time) {
	stored, err := f.w.srv.Records("gerrit", string(f.shard))
	if err != nil {
		f.w.t.Error(err)
	}
	for _, r := range stored {
		if r.Arrived.Before(until) && !f.pos.Covers(gerritstream.SequenceNumber(r.SequenceNumber), gerritstream.NoSub) {
			f.w.t.Errorf("caught up at %s, and the record of %s has not come", until, r.Arrived)
		}
	}
}

// seen returns what has come.
func (f *follower) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

// proven returns how often it was proven to be at the tip.
func (f *follower) proven() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.proofs
}

// isEnded reports whether the shard has ended.
func (f *follower) isEnded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

func (f *follower) errors() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.errs)
}

// want fails unless exactly this has come, in this order.
func (f *follower) want(want []string) {
	f.w.t.Helper()
	if got := f.seen(); !slices.Equal(got, want) {
		f.w.t.Errorf("%s: got %d records, want %d: %s", f.shard, len(got), len(want), difference(got, want))
	}
}

func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return "missing " + want[i]
		case i >= len(want):
			return "unexpected " + got[i]
		case got[i] != want[i]:
			return got[i] + " instead of " + want[i]
		}
	}
	return "none"
}

// stored returns the data of all records that a shard holds, in order.
func (w *world) stored(shard gerritstream.ShardID) (all []string) {
	w.t.Helper()
	records, err := w.srv.Records("gerrit", string(shard))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range records {
		all = append(all, string(r.Data))
	}
	return all
}

// standing returns how many subscriptions stand, and how those that ended did.
func (w *world) standing() (open int, ends []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open, slices.Clone(w.ends)
}

// countEnds returns how many subscriptions ended for a reason.
func (w *world) countEnds(reason string) (n int) {
	_, ends := w.standing()
	for _, e := range ends {
		if e == reason {
			n++
		}
	}
	return n
}

func fanOutOn(c *Config) { c.Read = ReadFanOut }

// wantNoTrouble fails if a reading reported an error.
func (f *follower) wantNoTrouble() {
	f.w.t.Helper()
	if errs := f.errors(); len(errs) > 0 {
		f.w.t.Errorf("got %d errors, the first: %v", len(errs), errs[0])
	}
}

// wantTrouble fails unless an error was reported that is being retried and says
// this.
func (f *follower) wantTrouble(text string) {
	f.w.t.Helper()
	for _, err := range f.errors() {
		if errors.Is(err, gerritstream.ErrRetrying) && strings.Contains(err.Error(), text) {
			return
		}
	}
	f.w.t.Errorf("no error has %q: %v", text, f.errors())
}
