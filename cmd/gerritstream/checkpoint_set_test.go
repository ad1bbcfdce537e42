package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// failingOperator sets so many positions, and then no more.
type failingOperator struct {
	gerritstream.Operator
	works int
}

var errNoAnswer = errors.New("no answer")

func (o *failingOperator) SetPosition(_ context.Context, _ int, _ gerritstream.ShardID,
	decide func(*gerritstream.StoredPosition) (gerritstream.Position, error),
) error {
	if o.works--; o.works < 0 {
		return errNoAnswer
	}
	_, err := decide(nil)
	return err
}

// A set that fails says what was set, and never that nothing is to be changed.
func TestAFailedSetSaysWhatWasSet(t *testing.T) {
	for works := range 3 {
		var out strings.Builder
		s := setting{
			output: outputFlag("table"), consent: &consent{process: process{stdout: &out}},
			aim: plan.ResetTarget{TrimHorizon: true}, listing: gerritstream.Listing{Now: now},
		}
		plan := &report{moves: []moveView{{Shard: "shardId-0"}, {Shard: "shardId-1"}}}
		err := s.set(t.Context(), operated{Operator: &failingOperator{works: works}}, plan)
		if (err == nil) != (works == 2) || err != nil && !errors.Is(err, errNoAnswer) {
			t.Errorf("%d: %v", works, err)
		}
		if got := strings.Count(out.String(), " -> trim horizon\n"); got != works || strings.Contains(out.String(), "Nothing") {
			t.Errorf("%d positions were set, it says\n%s", works, &out)
		}
	}
}
