package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

const (
	shardA gerritstream.ShardID = "shardId-000000000000"
	shardB gerritstream.ShardID = "shardId-000000000001"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func position(seq gerritstream.SequenceNumber) gerritstream.Position {
	return gerritstream.Position{After: seq, Arrived: time.UnixMilli(1_700_000_000_000).UTC()}
}

func elect(tb testing.TB, store gerritstream.Store, shard gerritstream.ShardID) gerritstream.Term {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	term, err := store.Campaign(ctx, 0, shard)
	must(tb, err)
	return term
}

func entry(shard gerritstream.ShardID, seq gerritstream.SequenceNumber, size int) gerritstream.Entry {
	return gerritstream.Entry{
		ID:    gerritstream.NewEventID(gerritstream.Stream{}, shard, seq, gerritstream.NoSub),
		Shard: shard, Seq: seq, Sub: gerritstream.NoSub, Payload: make([]byte, size),
	}
}

// commitOf is the commit of a position and entries.
func commitOf(seq gerritstream.SequenceNumber, entries ...gerritstream.Entry) gerritstream.Commit {
	return gerritstream.Commit{Position: position(seq), Entries: entries}
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// within returns a context of a call that must return.
func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// eventually waits until something is so.
func eventually(tb testing.TB, what string, so func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", patience, what)
		}
	}
}
