package main

import (
	"fmt"
	"io"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// resetReport reports changes of positions.
type resetReport struct {
	output  *output
	reread  string // for people: what the queue makes of events that are read again
	planned bool   // nothing has been done yet
	failed  bool   // not everything planned was done
	shards  []resetView
	changes int // positions that are set
}

// resetView is the change of one position, as JSON.
type resetView struct {
	Shard   gerritstream.ShardID   `json:"shard"`
	Set     bool                   `json:"set"` // with --dry-run: would be
	Why     string                 `json:"why,omitempty"`
	From    *gerritstream.Position `json:"from"` // null: none, or unreadable
	To      *gerritstream.Position `json:"to"`   // null: unchanged
	Again   *span                  `json:"read_again,omitempty"`
	Skipped *span                  `json:"left_out,omitempty"`

	old        string
	unreadable bool // the old position
}

// add adds the plan for a shard.
func (r *resetReport) add(shard gerritstream.ShardID, p plan.ResetPlan) {
	v := resetView{
		Shard: shard, Set: p.To != nil, Why: p.Why, From: p.From, To: p.To,
		Again: spanOf(p.Again), Skipped: spanOf(p.Skipped), old: "no position",
	}
	if p.From != nil {
		v.old = describe(p.From)
		if p.From.Unreadable != nil {
			v.From, v.unreadable = nil, true
		}
	}
	if v.Set {
		r.changes++
	}
	r.shards = append(r.shards, v)
}

// write writes the report: a line of JSON for each shard, or sentences.
func (r *resetReport) write(w io.Writer) error {
	if r.output.is("json") {
		for i := range r.shards {
			if err := writeLine(w, &r.shards[i]); err != nil {
				return err
			}
		}
		return nil
	}
	rereads, skips := false, false
	for i := range r.shards {
		v := &r.shards[i]
		r.writeShard(w, v)
		rereads = rereads || v.Again != nil || v.Set && v.unreadable
		skips = skips || v.Skipped != nil
	}
	if rereads {
		fmt.Fprintln(w, r.reread)
	}
	if skips {
		fmt.Fprintf(w, "Skipped records are recorded as possibly lost (%s); status shows them.\n",
			gerritstream.WhySetByOperator)
	}
	if r.changes == 0 && !r.failed {
		fmt.Fprintln(w, "Nothing to change.")
	} else if r.changes > 0 && !r.planned {
		fmt.Fprintln(w, "Running processes continue from there within seconds; ended shards are reopened within 30 s.")
	}
	return nil
}

// writeShard writes the change of one shard.
func (r *resetReport) writeShard(w io.Writer, v *resetView) {
	if !v.Set {
		fmt.Fprintf(w, "%s: stays %s: %s\n", v.Shard, v.old, v.Why)
		return
	}
	fmt.Fprintf(w, "%s: %s -> %s\n", v.Shard, v.old, v.To)
	will := "will"
	if r.planned {
		will = "would"
	}
	if v.Again != nil {
		after := ""
		if v.Again.From.IsZero() && v.To.After != "" { // the arrival of that record is unknown
			after = fmt.Sprintf(", after %s,", v.To.After)
		}
		fmt.Fprintf(w, "  records that arrived %s%s %s be read and queued again\n", v.Again, after, will)
	}
	if v.unreadable {
		fmt.Fprintf(w, "  the old position is unknown: some records that %s be read may be in the queue\n", will)
	}
	if v.Skipped != nil {
		fmt.Fprintf(w, "  records that arrived %s and were not handled %s be skipped\n", v.Skipped, will)
	}
}
