package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// failingOperator sets a number of positions, and then fails.
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

// A set that fails reports what was set, and never that nothing needs a change.
func TestAFailedSetReportsWhatWasSet(t *testing.T) {
	for works := range 3 {
		var out strings.Builder
		s := checkpointSet{
			output: outputFlag("table"), confirm: &confirmation{process: process{stdout: &out}},
			target: plan.ResetTarget{TrimHorizon: true}, listing: gerritstream.Listing{Now: now},
		}
		planned := &resetReport{shards: []resetView{{Shard: "shardId-0"}, {Shard: "shardId-1"}}}
		err := s.set(t.Context(), operated{store: &failingOperator{works: works}}, planned)
		if (err == nil) != (works == 2) || err != nil && !errors.Is(err, errNoAnswer) {
			t.Errorf("%d: %v", works, err)
		}
		if got := strings.Count(out.String(), " -> trim horizon\n"); got != works ||
			strings.Contains(out.String(), "Nothing") {
			t.Errorf("%d positions were set, the report is\n%s", works, &out)
		}
	}
}
