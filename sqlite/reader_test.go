package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// All that is known of an event is read back, whatever its bytes, from a given
// place on.
func TestReaderReadsBack(t *testing.T) {
	s := newShared(t)
	term := elect(t, s.open(), shardA)
	want := []gerritstream.Entry{
		{
			ID: gerritstream.EventID{1}, Shard: shardA, Seq: "123456789012345678901234567890", Sub: 7,
			Arrived: time.UnixMilli(1_700_000_000_123).UTC(),
			Event: gerritstream.Event{Type: "ref-updated", Project: "ä/b", Ref: "refs/heads/x", Change: 42,
				Created: time.Unix(1_700_000_000, 0).UTC(), Attributes: map[string]string{"tenant": "ä\"\x00", "": ""}},
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
		e, w := got.Entry, want[i]
		if !bytes.Equal(e.Payload, w.Payload) {
			t.Errorf("payload is %q, want %q", e.Payload, w.Payload)
		}
		e.Payload, w.Payload = nil, nil
		if e.ID != w.ID || e.Shard != w.Shard || e.Seq != w.Seq || e.Sub != w.Sub ||
			!e.Arrived.Equal(w.Arrived) || !reflect.DeepEqual(e.Event, w.Event) {
			t.Errorf("event is %+v, want %+v", e, w)
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
		if got.Entry.ID != want[1].ID {
			t.Errorf("the event after the first is %s", got.Entry.ID)
		}
	}
}

// Events that do not fit into one read come in order, while more are committed.
func TestReaderTails(t *testing.T) {
	s := newShared(t)
	term := elect(t, s.open(), shardA)
	n := 0
	add := func() {
		n++
		seq := gerritstream.SequenceNumber(strconv.Itoa(n))
		must(t, term.Commit(t.Context(), commitOf(seq, entry(shardA, seq, 1))))
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
		if read++; string(e.Entry.Seq) != strconv.Itoa(read) {
			t.Fatalf("event %d is %s", read, e.Entry.Seq)
		}
		if read%10 == 0 && n < 900 {
			add()
		}
	}
	if read != n || n < 750 {
		t.Errorf("%d events read, %d committed", read, n)
	}
}

// Follow waits for events that are queued later, and ends with its context, or
// when the caller breaks off.
func TestReaderFollows(t *testing.T) {
	s := newShared(t)
	term := elect(t, s.open(), shardA)
	add := func(n int) {
		seq := gerritstream.SequenceNumber(strconv.Itoa(n))
		must(t, term.Commit(t.Context(), commitOf(seq, entry(shardA, seq, 1))))
	}
	add(1)
	reader, err := sqlite.OpenReader(t.Context(), s.path)
	must(t, err)
	defer reader.Close(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last int64
	for e, err := range reader.Follow(ctx, 0) {
		must(t, err)
		if last++; string(e.Entry.Seq) != strconv.FormatInt(last, 10) || e.Number != last {
			t.Fatalf("event %d is %s, number %d", last, e.Entry.Seq, e.Number)
		}
		if last == 5 {
			break
		}
		add(int(last) + 1)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(3*time.Millisecond, func() { stop(errors.New("enough")) })
	for e, err := range reader.Follow(ctx, last) {
		if err == nil || !strings.Contains(err.Error(), "enough") && !errors.Is(err, context.Canceled) {
			t.Errorf("event %v, %v", e, err)
		}
	}
}

// A follower gets an error when its file is removed or replaced: no more events
// will come.
func TestFollowedFileIsGone(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"removed":  os.Remove,
		"replaced": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			must(t, err)
			must(t, store.Close(t.Context()))
			reader, err := sqlite.OpenReader(t.Context(), path)
			must(t, err)
			defer reader.Close(t.Context())
			must(t, spoil(path))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for _, err := range reader.Follow(ctx, 0) {
				if !errors.Is(err, gerritstream.ErrStoreGone) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// Inspecting a missing file does not make one. A file can be inspected in use
// and after.
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
	must(t, elect(t, store, shardA).Commit(t.Context(), commitOf("1", entry(shardA, "1", 1))))
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
