package sqlite_test

import (
	"context"
	"testing"

	"github.com/gerritstream/gerritstream"
)

// A process keeps working beside a newer one that added columns to every table.
func TestBesideANewerSchema(t *testing.T) {
	s := newShared(t)
	store := s.open()
	for _, table := range []string{
		"start", "positions", "leases", "processes", "events", "dead_letters", "counters", "candidates", "consumers",
	} {
		s.exec(`ALTER TABLE ` + table + ` ADD COLUMN later TEXT`)
	}
	stream := gerritstream.Stream{ARN: "arn:aws:kinesis:us-west-2:1:stream/s"}
	must(t, store.SetOrigin(t.Context(), nil, gerritstream.Origin{Stream: stream}))
	advertise(t, store)
	term := elect(t, store, shardA)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = store.Campaign(ctx, 0, shardA) }() // a candidate
	must(t, term.Commit(t.Context(), gerritstream.Commit{
		Position: position("1"), Entries: []gerritstream.Entry{entry(shardA, "1", 10)},
		DeadLetters: []gerritstream.DeadLetter{deadLetter("1", 10)},
	}))
	must(t, store.Report(t.Context(), gerritstream.Status{}))
	must(t, openOperator(t, s.path).SetPosition(t.Context(), 0, shardB, setTo(position("1"))))
	in, err := store.Inspect(t.Context())
	must(t, err)
	if in.Queue != 1 || in.DeadLetters != 1 || in.Origin == nil || len(in.Shards) != 2 || len(in.Reports) != 1 {
		t.Errorf("inspected %+v", in)
	}
	must(t, term.Resign(t.Context()))
}
