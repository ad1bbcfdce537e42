package plan

import (
	"errors"
	"testing"

	gs "github.com/gerritstream/gerritstream"
)

func TestRedrive(t *testing.T) {
	classify := func(_ gs.ShardID, r *gs.Record) gs.Verdict {
		data := r.Data
		switch string(data) {
		case "bad":
			return gs.Verdict{Bad: "json", Detail: "byte 0 is wrong"}
		case "drop":
			return gs.Verdict{Filter: "type"}
		}
		return gs.Verdict{Event: gs.Event{Type: "t"}}
	}
	dead := func(reason, payload string, length int) *gs.DeadLetter {
		return &gs.DeadLetter{ID: gs.EventID{1}, Shard: "s", Seq: "7", Sub: 2, Arrived: t0, Reason: reason,
			Detail:  "as it was",
			Payload: []byte(payload), Length: length}
	}
	e, err := Redrive(dead("json", "good", 4), classify)
	if err != nil || e.ID != (gs.EventID{1}) || e.Shard != "s" || e.Seq != "7" || e.Sub != 2 || !e.Arrived.Equal(t0) ||
		string(e.Payload) != "good" || e.Event.Type != "t" {
		t.Errorf("entry %+v, error %v", e, err)
	}
	for _, tt := range []struct {
		dead   *gs.DeadLetter
		reason string
	}{
		{dead("json", "bad", 3), "json"},
		{dead("json", "drop", 4), ReasonFiltered},
		{dead(gs.ReasonRejected, "good", 4), gs.ReasonRejected},
		{dead(gs.ReasonAggregate, "good", 4), gs.ReasonAggregate},
	} {
		var refused *StillRefusedError
		if _, err := Redrive(tt.dead, classify); !errors.As(err, &refused) || refused.Reason != tt.reason {
			t.Errorf("%s: got %v, want a refusal because of %s", tt.dead.Payload, err, tt.reason)
		}
	}
	if _, err := Redrive(dead("json", "good", 5), classify); !errors.Is(err, gs.ErrTruncated) {
		t.Errorf("a dead letter that was cut: got %v", err)
	}
}
