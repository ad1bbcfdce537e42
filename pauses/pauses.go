// Package pauses is how reading is paused for maintenance, shard by shard or
// all at once: the values that a store keeps, and what it promises about them.
//
// While a shard is paused, no process commits for it, whichever leads it or is
// elected: the store itself refuses. Its position stays, its leader keeps the
// leadership and reads nothing, and the stream's retention goes on. A foreign
// leader, such as Zuul's own listener, does not know of pauses.
//
// A pause with an end is lifted by a process that reads the stream, once the
// time is past by the stream's clock; the shards go on after that, and not
// because some clock says so. Until it is lifted it is in force.
package pauses

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
)

// All is the Shard of a pause of all shards, those that open later among them.
const All gerritstream.ShardID = ""

// State is that of a shard whose leader keeps to a pause: it leads and reads
// nothing.
const State gerritstream.State = "paused"

// Pause says since when, by whom and why a shard is not read.
type Pause struct {
	Shard  gerritstream.ShardID `json:"shard,omitempty"`  // All: every shard
	Since  time.Time            `json:"since"`            // by the clock of who paused
	By     string               `json:"by"`               // user@host, for people
	Reason string               `json:"reason,omitempty"` // for people
	Until  time.Time            `json:"until,omitzero"`   // by the stream's clock; zero: until somebody resumes
}

// MaxText bounds By and Reason, in bytes.
const MaxText = 500

// String says by whom, since when and why, for people.
func (p *Pause) String() string {
	text := "paused by " + p.By + " since " + p.Since.UTC().Format(time.RFC3339)
	if !p.Until.IsZero() {
		text += " until " + p.Until.UTC().Format(time.RFC3339)
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}

// equal reports whether two pauses are the same.
func (p *Pause) equal(o *Pause) bool {
	return p.Shard == o.Shard && p.By == o.By && p.Reason == o.Reason &&
		p.Since.Equal(o.Since) && p.Until.Equal(o.Until)
}

// Set is every pause in force, at most one a shard, ordered by shard: that of
// All comes first.
type Set []Pause

// Of returns the pause that keeps a shard from being read: its own, or that of
// all shards. ok is false if none does.
func (s Set) Of(shard gerritstream.ShardID) (p Pause, ok bool) {
	for _, id := range []gerritstream.ShardID{shard, All} {
		if i, found := s.find(id); found {
			return s[i], true
		}
	}
	return Pause{}, false
}

// Has returns the pause that was given for exactly this shard, or All.
func (s Set) Has(shard gerritstream.ShardID) (p Pause, ok bool) {
	if i, found := s.find(shard); found {
		return s[i], true
	}
	return Pause{}, false
}

func (s Set) find(shard gerritstream.ShardID) (i int, found bool) {
	return slices.BinarySearchFunc(s, shard, func(p Pause, id gerritstream.ShardID) int {
		return strings.Compare(string(p.Shard), string(id))
	})
}

// With returns a set in which p takes the place of the pause of its shard.
func (s Set) With(p Pause) Set {
	with := slices.Clone(s)
	if i, found := with.find(p.Shard); found {
		with[i] = p
	} else {
		with = slices.Insert(with, i, p)
	}
	return with
}

// Without returns a set without the pause given for exactly this shard, or All.
func (s Set) Without(shard gerritstream.ShardID) Set {
	return slices.DeleteFunc(slices.Clone(s), func(p Pause) bool { return p.Shard == shard })
}

// Past returns a set without the pauses whose end is past at a time, and how
// many these are. A zero time, which is no time, ends none.
func (s Set) Past(now time.Time) (left Set, ended int) {
	left = slices.DeleteFunc(slices.Clone(s), func(p Pause) bool {
		return !now.IsZero() && !p.Until.IsZero() && !p.Until.After(now)
	})
	return left, len(s) - len(left)
}

// Equal reports whether two sets are the same.
func (s Set) Equal(o Set) bool {
	return slices.EqualFunc(s, o, func(a, b Pause) bool { return a.equal(&b) })
}

// Keeper reads and changes the pauses of a store. An operator's handle on a
// store implements it. Several goroutines may call its methods at once; each
// retries for a few seconds at most. Suite RunPauses of package storetest
// states the contract as tests.
type Keeper interface {
	// Pauses returns the pauses in force. Every change is in it whose
	// ChangePauses had returned, in any process, when the call began.
	Pauses(ctx context.Context) (Set, error)

	// ChangePauses replaces the pauses in force, given to change, by those that
	// it returns, in one transaction, and returns them. change may be called
	// more than once; the last call counts. Its error is returned, and then
	// nothing is written.
	//
	// Once ChangePauses has returned nil, no Commit of a shard that is paused
	// is applied, in any process: it fails with ErrPaused. A Commit under way
	// may be applied before ChangePauses returns, and not after. For about a
	// second a Commit of a shard that is no longer paused may fail with it as
	// well. Terms go on: a pause ends no leadership, since another program
	// might be elected.
	//
	// Unless the error is change's or ErrRetryLater, the change may have been
	// made. It can be repeated.
	ChangePauses(ctx context.Context, change func(Set) (Set, error)) (Set, error)
}

// Store is what a process that reads shards needs of its store, besides that
// the store's terms keep to ErrPaused.
type Store interface {
	Keeper

	// WaitPauses returns nil when the pauses may no longer be as seen: perhaps
	// early, and about a second late at most. While nothing changes it costs
	// nothing a shard. It waits for a store that is away.
	WaitPauses(ctx context.Context, seen Set) error
}

// ErrPaused is with what a Commit of a paused shard fails. It is a
// gerritstream.ErrRetryLater: nothing was written and the term goes on.
var ErrPaused error = pausedError{}

type pausedError struct{}

func (pausedError) Error() string { return "the shard is paused" }

// Is makes errors.Is(err, gerritstream.ErrRetryLater) true.
func (pausedError) Is(target error) bool { return target == gerritstream.ErrRetryLater }

// format is the version of the stored form.
const format = 1

// stored is the stored form.
type stored struct {
	Format int `json:"format"`
	Pauses Set `json:"pauses"`
}

// Encode returns the stored form of a set, a JSON object. It refuses one that
// is not ordered, and texts of more than MaxText.
func Encode(s Set) ([]byte, error) {
	var before *Pause
	for i := range s {
		p := &s[i]
		switch {
		case before != nil && before.Shard >= p.Shard:
			return nil, fmt.Errorf("encode pauses: %q is not after %q", p.Shard, before.Shard)
		case len(p.By) > MaxText || len(p.Reason) > MaxText:
			return nil, fmt.Errorf("encode pauses: a text has more than %d bytes", MaxText)
		case p.Since.IsZero():
			return nil, errors.New("encode pauses: one has no beginning")
		}
		before = p
	}
	raw, err := json.Marshal(stored{format, s})
	if err != nil {
		return nil, fmt.Errorf("encode pauses: %w", err)
	}
	return raw, nil
}

// Decode reads the stored form; an empty one is no pause. One that is damaged,
// or of a newer version, pauses everything until somebody resumes: a pause must
// not end by not being understood.
func Decode(raw []byte) Set {
	if len(raw) == 0 {
		return nil
	}
	var s stored
	err := json.Unmarshal(raw, &s)
	switch {
	case err == nil && s.Format != format:
		err = fmt.Errorf("format %d, known is %d", s.Format, format)
	case err == nil:
		_, err = Encode(s.Pauses)
	}
	if err != nil {
		return Set{{By: "the store", Since: time.Unix(0, 0).UTC(), Reason: "the record of pauses cannot be read: " +
			clip(err.Error()) + "; `resume --all` replaces it"}}
	}
	if len(s.Pauses) == 0 {
		return nil
	}
	return s.Pauses
}

// clip bounds a text of others.
func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), MaxText/2)], "") }
