package zookeeper_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
)

const (
	shardA gerritstream.ShardID = "shardId-000000000000"
	shardB gerritstream.ShardID = "shardId-000000000001"
)

var (
	stream = gerritstream.Stream{ARN: "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit",
		Created: time.UnixMilli(1_700_000_000_000).UTC()}
	arrival = stream.Created.Add(time.Hour)
)

func sequence(n int) gerritstream.SequenceNumber {
	return gerritstream.SequenceNumber("4959033827149025660855969253836157109592157598913" + fmt.Sprintf("%07d", n))
}

func after(n int) gerritstream.Position {
	return gerritstream.Position{After: sequence(n), Arrived: arrival.Add(time.Duration(n) * time.Millisecond)}
}

// anchor is a position before any record.
func anchor() gerritstream.Position {
	return gerritstream.Position{From: gerritstream.StartingPosition{Time: arrival}}
}

// event makes an entry of about size bytes of record n of a shard.
func event(shard gerritstream.ShardID, n, size int) gerritstream.Entry {
	head := `{"type": "comment-added", "n": ` + strconv.Itoa(n) + `, "text": "`
	return gerritstream.Entry{
		ID:    gerritstream.NewEventID(stream, shard, sequence(n), gerritstream.NoSub),
		Shard: shard, Seq: sequence(n), Sub: gerritstream.NoSub,
		Arrived: arrival.Add(time.Duration(n) * time.Millisecond),
		Payload: []byte(head + noise(n, max(0, size-len(head)-2)) + `"}`),
	}
}

// noise is text that does not shrink to less than half when it is compressed.
func noise(seed, size int) string {
	raw := make([]byte, size/2+1)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(raw) // it never fails
	return hex.EncodeToString(raw)[:size]
}

// events makes entries of the records from first to last.
func events(shard gerritstream.ShardID, first, last int) (entries []gerritstream.Entry) {
	for n := first; n <= last; n++ {
		entries = append(entries, event(shard, n, 100))
	}
	return entries
}

// step returns the commit of the records from first to last.
func step(shard gerritstream.ShardID, first, last int) gerritstream.Commit {
	return gerritstream.Commit{Position: after(last), Entries: events(shard, first, last)}
}

func deadLetter(shard gerritstream.ShardID, n int) gerritstream.DeadLetter {
	payload := []byte(fmt.Sprintf("\xff%d", n))
	return gerritstream.DeadLetter{
		ID:    gerritstream.NewEventID(stream, shard, sequence(n), gerritstream.NoSub),
		Shard: shard, Seq: sequence(n), Sub: gerritstream.NoSub, Arrived: arrival, Reason: "utf8", Detail: "byte 0",
		Payload: payload, Length: len(payload), SHA256: sha256.Sum256(payload),
	}
}

// patience is how long a test waits for something that must happen.
const patience = 2 * time.Minute

func soon(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func elect(tb testing.TB, store gerritstream.Store, shard gerritstream.ShardID) gerritstream.Term {
	tb.Helper()
	term, err := store.Campaign(soon(tb), 0, shard)
	if err != nil {
		tb.Fatal(err)
	}
	return term
}

func commit(tb testing.TB, term gerritstream.Term, c gerritstream.Commit) {
	tb.Helper()
	if err := term.Commit(soon(tb), c); err != nil {
		tb.Fatal(err)
	}
}

func resign(tb testing.TB, term gerritstream.Term) {
	tb.Helper()
	if err := term.Resign(soon(tb)); err != nil {
		tb.Fatal(err)
	}
}

// receive waits for a value of a channel, or for its closing.
func receive[T any](tb testing.TB, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		tb.Fatal("timed out waiting for a channel")
		panic("not reached")
	}
}

// ended waits for a term's end.
func ended(tb testing.TB, term gerritstream.Term) {
	tb.Helper()
	select {
	case <-term.Context().Done():
	case <-time.After(patience):
		tb.Fatal("the term did not end")
	}
}

// begins checks where a term begins; empty: without a sequence number.
func begins(tb testing.TB, term gerritstream.Term, want gerritstream.SequenceNumber) {
	tb.Helper()
	pos, ok := term.Beginning().Position, term.Beginning().Stored
	if pos.After != want || ok != (want != "") && pos.From.Time.IsZero() {
		tb.Errorf("the term begins with %+v (%v), want after %q", pos, ok, want)
	}
}

// eventually waits until a condition holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	within(tb, patience, what, holds)
}

// within waits until a condition holds, at most for limit.
func within(tb testing.TB, limit time.Duration, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			tb.Fatalf("timed out waiting until %s", what)
		}
		<-tick.C
	}
}

// queued checks that the queue holds exactly these entries, those of a shard in
// order.
func (cl *cluster) queued(want ...gerritstream.Entry) {
	cl.t.Helper()
	report := history.CompareEntries(want, cl.entries())
	if err := report.Err(); err != nil {
		cl.t.Error(err)
	}
}

// checkpoint checks Zuul's checkpoint. Empty: null.
func (cl *cluster) checkpoint(shard gerritstream.ShardID, want gerritstream.SequenceNumber) {
	cl.t.Helper()
	text := `{"checkpoint": null}`
	if want != "" {
		text = `{"checkpoint": "` + string(want) + `"}`
	}
	if got := string(cl.get(cl.checkpointPath(shard))); got != text {
		cl.t.Errorf("Zuul's checkpoint is %q, want %q", got, text)
	}
}

// noLargeEvents checks that only the queued large events have nodes, and that
// no intent is left.
func (cl *cluster) noLargeEvents(queued int) {
	cl.t.Helper()
	if left := cl.children(cl.zuul("/events/data")); len(left) != queued {
		cl.t.Errorf("large events: %q, want %d", left, queued)
	}
	if left := cl.children(cl.own("/intents")); len(left) != 0 {
		cl.t.Errorf("intents left: %q", left)
	}
}
