package main

import (
	"fmt"
	"io"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// report says what becomes of positions.
type report struct {
	output  *output
	doubled string // what the queue makes of events that are read once more
	would   bool   // it is only planned
	failed  bool   // not all that was planned was done
	moves   []moveView
	changes int // positions that are set
}

// moveView is what becomes of one position, as JSON.
type moveView struct {
	Shard   gerritstream.ShardID   `json:"shard"`
	Set     bool                   `json:"set"` // with --dry-run: would be
	Why     string                 `json:"why,omitempty"`
	From    *gerritstream.Position `json:"from"` // null: there is none, or it cannot be understood
	To      *gerritstream.Position `json:"to"`   // null: it stays
	Again   *span                  `json:"read_again,omitempty"`
	Skipped *span                  `json:"left_out,omitempty"`

	was   string
	blind bool // it cannot be understood where the shard was
}

// add adds what becomes of a shard.
func (r *report) add(shard gerritstream.ShardID, m plan.ResetPlan) {
	v := moveView{
		Shard: shard, Set: m.To != nil, Why: m.Why, From: m.From, To: m.To,
		Again: spanOf(m.Again), Skipped: spanOf(m.Skipped), was: "no position",
	}
	if m.From != nil {
		v.was = m.From.String()
		if m.From.Ended {
			v.was += ", ended"
		}
		if m.From.Unreadable != nil {
			v.From, v.blind = nil, true
		}
	}
	if v.Set {
		r.changes++
	}
	r.moves = append(r.moves, v)
}

// people returns the report for a person, whatever form was asked for.
func (r *report) people() *report {
	table := *r
	table.output = outputFlag("table")
	return &table
}

// write writes the report: a line of JSON for each shard, or sentences.
func (r *report) write(w io.Writer) error {
	if r.output.is("json") {
		for i := range r.moves {
			if err := writeLine(w, &r.moves[i]); err != nil {
				return err
			}
		}
		return nil
	}
	doubling, leaving := false, false
	for i := range r.moves {
		m := &r.moves[i]
		r.writeMove(w, m)
		doubling = doubling || m.Again != nil || m.Set && m.blind
		leaving = leaving || m.Skipped != nil
	}
	if doubling {
		fmt.Fprintln(w, r.doubled)
	}
	if leaving {
		fmt.Fprintf(w, "What is left out is recorded as possibly lost (%s), and status shows it.\n", gerritstream.WhySetByOperator)
	}
	if r.changes == 0 && !r.failed {
		fmt.Fprintln(w, "Nothing is to be changed.")
	} else if r.changes > 0 && !r.would {
		fmt.Fprintln(w, "Processes that run go on from there within seconds; shards that had ended are taken up within half a minute.")
	}
	return nil
}

// writeMove writes what becomes of one shard.
func (r *report) writeMove(w io.Writer, m *moveView) {
	if !m.Set {
		fmt.Fprintf(w, "%s: stays %s: %s\n", m.Shard, m.was, m.Why)
		return
	}
	fmt.Fprintf(w, "%s: %s -> %s\n", m.Shard, m.was, m.To)
	is := "is"
	if r.would {
		is = "would be"
	}
	if m.Again != nil {
		fmt.Fprintf(w, "  what arrived %s%s %s read and queued again\n", m.Again, m.behind(), is)
	}
	if m.blind {
		fmt.Fprintf(w, "  where it was is not known: some of what %s read may have been queued before\n", is)
	}
	if m.Skipped != nil {
		fmt.Fprintf(w, "  what arrived %s and was not handled %s left out\n", m.Skipped, is)
	}
}

// behind says behind which record what is read again is, where its arrival is
// not known.
func (m *moveView) behind() string {
	if m.Again.From.IsZero() && m.To.After != "" {
		return fmt.Sprintf(", behind %s,", m.To.After)
	}
	return ""
}
