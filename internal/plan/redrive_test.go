package plan

import (
	"errors"
	"testing"

	"github.com/gerritstream/gerritstream"
)

func TestRedrive(t *testing.T) {
	classify := func(_ gerritstream.ShardID, r *gerritstream.Record) gerritstream.Verdict {
		data := r.Data
		switch string(data) {
		case "bad":
			return gerritstream.Verdict{Bad: "json", Detail: "byte 0 is wrong"}
		case "drop":
			return gerritstream.Verdict{Filter: "type"}
		}
		return gerritstream.Verdict{Event: gerritstream.Event{Type: "t"}}
	}
	dead := func(reason, payload string, length int) *gerritstream.DeadLetter {
		return &gerritstream.DeadLetter{ID: gerritstream.EventID{1}, Shard: "s", Seq: "7", Sub: 2, Arrived: t0, Reason: reason, Detail: "as it was",
			Payload: []byte(payload), Length: length}
	}
	e, err := Redrive(dead("json", "good", 4), classify)
	if err != nil || e.ID != (gerritstream.EventID{1}) || e.Shard != "s" || e.Seq != "7" || e.Sub != 2 || !e.Arrived.Equal(t0) ||
		string(e.Payload) != "good" || e.Event.Type != "t" {
		t.Errorf("entry %+v, error %v", e, err)
	}
	for _, tt := range []struct {
		dead   *gerritstream.DeadLetter
		reason string
	}{
		{dead("json", "bad", 3), "json"},
		{dead("json", "drop", 4), ReasonFiltered},
		{dead(gerritstream.ReasonRejected, "good", 4), gerritstream.ReasonRejected},
		{dead(gerritstream.ReasonAggregate, "good", 4), gerritstream.ReasonAggregate},
	} {
		var refused *StillRefusedError
		if _, err := Redrive(tt.dead, classify); !errors.As(err, &refused) || refused.Reason != tt.reason {
			t.Errorf("%s: got %v, want a refusal because of %s", tt.dead.Payload, err, tt.reason)
		}
	}
	if _, err := Redrive(dead("json", "good", 5), classify); !errors.Is(err, gerritstream.ErrTruncated) {
		t.Errorf("a dead letter that was cut: got %v", err)
	}
}
