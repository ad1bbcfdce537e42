package sqlite_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// Everything that is known of an event is read back, whatever its bytes, from a place on.
func TestReaderReadsBack(t *testing.T) {
	s := newShared(t)
	term := elect(t, s.open(), shardA)
	want := []gerritstream.Entry{
		{
			ID: gerritstream.EventID{1}, Shard: shardA, Seq: "123456789012345678901234567890", Sub: 7,
			Arrived: time.UnixMilli(1_700_000_000_123).UTC(),
			Event: gerritstream.Event{Type: "ref-updated", Project: "ä/b", Ref: "refs/heads/x", Change: 42,
				Created: time.Unix(1_700_000_000, 0).UTC()},
			Payload: []byte("\x00\x01\xff\xfe'\"\n"),
		},
		{ID: gerritstream.EventID{2}, Shard: shardA, Seq: "2", Sub: gerritstream.NoSub, Arrived: time.UnixMilli(5).UTC()},
	}
	must(t, term.Commit(t.Context(), gerritstream.Commit{Position: position("3"), Entries: want}))

	reader, err := sqlite.OpenReader(t.Context(), s.path)
	must(t, err)
	defer reader.Close(t.Context())
	i := 0
	for got, err := range reader.Events(t.Context(), 0) {
		must(t, err)
		w := want[i]
		if !bytes.Equal(got.Payload, w.Payload) {
			t.Errorf("payload is %q, want %q", got.Payload, w.Payload)
		}
		got.Payload, w.Payload = nil, nil
		if got.ID != w.ID || got.Shard != w.Shard || got.Seq != w.Seq || got.Sub != w.Sub ||
			!got.Arrived.Equal(w.Arrived) || got.Event != w.Event {
			t.Errorf("event is %+v, want %+v", got.Entry, w)
		}
		if i++; got.Number != int64(i) || time.Since(got.Queued) > time.Minute {
			t.Errorf("event %d has number %d, queued %v", i, got.Number, got.Queued)
		}
	}
	if i != len(want) {
		t.Errorf("%d events, want %d", i, len(want))
	}
	for got, err := range reader.Events(t.Context(), 1) {
		must(t, err)
		if got.ID != want[1].ID {
			t.Errorf("the event behind the first is %s", got.ID)
		}
	}
}

// More events than one read takes come in order, while others are committed.
func TestReaderTails(t *testing.T) {
	s := newShared(t)
	term := elect(t, s.open(), shardA)
	n := 0
	add := func() {
		n++
		seq := gerritstream.SequenceNumber(strconv.Itoa(n))
		must(t, term.Commit(t.Context(), gerritstream.Commit{Position: position(seq), Entries: []gerritstream.Entry{entry(shardA, seq, 1)}}))
	}
	for range 700 {
		add()
	}
	reader, err := sqlite.OpenReader(t.Context(), s.path)
	must(t, err)
	defer reader.Close(t.Context())
	read := 0
	for e, err := range reader.Events(t.Context(), 0) {
		must(t, err)
		if read++; string(e.Seq) != strconv.Itoa(read) {
			t.Fatalf("event %d is %s", read, e.Seq)
		}
		if read%10 == 0 && n < 900 {
			add()
		}
	}
	if read != n || n < 750 {
		t.Errorf("%d events read, %d committed", read, n)
	}
}

// Looking at a file that is not there makes none; a file in use, and one that was left, can be looked at.
func TestInspectFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	if _, err := sqlite.Inspect(t.Context(), path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("inspect of a missing file returned %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("inspect made a file: %v", err)
	}
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Process: "leader"})
	must(t, err)
	must(t, elect(t, store, shardA).Commit(t.Context(), gerritstream.Commit{Position: position("1"), Entries: []gerritstream.Entry{entry(shardA, "1", 1)}}))
	inspected := func(leader string) {
		t.Helper()
		in, err := sqlite.Inspect(t.Context(), path)
		must(t, err)
		if s := in.Shards[shardA]; in.Queue != 1 || s.Leader != leader || s.Position == nil || s.Position.After != "1" {
			t.Errorf("inspection is %+v", in)
		}
	}
	inspected("leader")
	must(t, store.Close(t.Context()))
	inspected("")
}
