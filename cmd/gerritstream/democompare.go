package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/sqlite"
)

// place is a record's identity within a stream.
type place struct {
	shard gerritstream.ShardID
	seq   gerritstream.SequenceNumber
	sub   int
}

func (p place) String() string {
	return fmt.Sprintf("shard %s, sequence number %s", brief(p.shard), p.seq)
}

// fate is what became of a record, or should have.
type fate struct {
	verdict gerrittest.Want
	why     string // rule or reason
	kind    string // type of the event; "" with a dead letter, for it has none that can be relied on
}

func (f fate) String() string {
	if f.why == "" {
		return string(f.verdict)
	}
	return fmt.Sprintf("%s (%s)", f.verdict, f.why)
}

// fateOf is what should become of a made-up record.
func fateOf(r *gerrittest.Record) fate {
	f := fate{verdict: r.Want, why: r.Why, kind: r.Type}
	if f.verdict == gerrittest.DeadLetter {
		f.kind = ""
	}
	return f
}

// published is a record that the stream acknowledged.
type published struct {
	place place
	want  fate
}

// findings are all records of which a trace was found, each with every trace of
// it.
type findings map[place][]fate

func (f findings) add(at place, what fate) { f[at] = append(f[at], what) }

// comparison is what the producer was told, held against what was found.
type comparison struct {
	lost       int // records without a trace
	duplicated int // traces beyond the first of a record
	misjudged  int // records with one trace, and the wrong one
	unexpected int // traces of what nobody published
	examples   []string
}

// fine: each record was found once, with the verdict it was made for, and
// nothing else was.
func (c *comparison) fine() bool { return c.lost+c.duplicated+c.misjudged+c.unexpected == 0 }

// err says what is not fine.
func (c *comparison) err() error {
	if c.fine() {
		return nil
	}
	err := fmt.Errorf("the demo does not add up: %d lost, %d duplicated, %d misjudged, %d unexpected", c.lost, c.duplicated, c.misjudged, c.unexpected)
	for _, e := range c.examples {
		err = errors.Join(err, errors.New("for example: "+e))
	}
	return &checkError{err}
}

// maxExamples is how many records a comparison names.
const maxExamples = 5

func (c *comparison) example(format string, args ...any) {
	if len(c.examples) < maxExamples {
		c.examples = append(c.examples, fmt.Sprintf(format, args...))
	}
}

// compare holds the producer's answers against what was found.
func compare(acked []published, found findings) comparison {
	var c comparison
	known := make(map[place]bool, len(acked))
	for i := range acked {
		at, want := acked[i].place, acked[i].want
		if known[at] {
			c.lost++ // two records cannot be at one place
			c.example("%s: acknowledged twice", at)
			continue
		}
		known[at] = true
		switch is := found[at]; {
		case len(is) == 0:
			c.lost++
			c.example("%s: lost, should be %s", at, want)
		case len(is) > 1:
			c.duplicated += len(is) - 1
			c.example("%s: found as %v, should be %s once", at, is, want)
		case is[0] != want:
			c.misjudged++
			c.example("%s: is %s of type %q, should be %s of type %q", at, is[0], is[0].kind, want, want.kind)
		}
	}
	for at, is := range found {
		if !known[at] {
			c.unexpected += len(is)
			c.example("%s: found as %v, and was never published", at, is)
		}
	}
	return c
}

// findStored reads the rows of a database, as any other program might, and the
// positions. passed reports whether the stored position of its shard is at a
// place or behind it: what was filtered leaves no other trace.
func findStored(ctx context.Context, path string) (found findings, passed func(place) bool, err error) {
	r, err := sqlite.OpenReader(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = r.Close(ctx) }() // it was only read
	found = findings{}
	for e, err := range r.Events(ctx, 0) {
		if err != nil {
			return nil, nil, err
		}
		found.add(place{e.Shard, e.Seq, e.Sub}, fate{verdict: gerrittest.Queued, kind: e.Event.Type})
	}
	letters, err := r.DeadLetters(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i := range letters {
		l := &letters[i]
		found.add(place{l.Shard, l.Seq, l.Sub}, fate{verdict: gerrittest.DeadLetter, why: l.Reason})
	}
	in, err := sqlite.Inspect(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	return found, func(at place) bool {
		pos := in.Shards[at.shard].Position
		return pos != nil && (pos.Ended || pos.Covers(at.seq, at.sub))
	}, nil
}
