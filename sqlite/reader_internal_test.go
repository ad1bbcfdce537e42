package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/gerritstream/gerritstream"
)

// What a reader holds in memory is bounded in bytes, whatever the size of the
// events.
func TestPagesOfAReaderAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	store, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(t.Context())
	term, err := store.Campaign(t.Context(), 0, "shard")
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	for i := range 12 {
		seq := gerritstream.SequenceNumber(fmt.Sprint(i + 1))
		err := term.Commit(t.Context(), gerritstream.Commit{
			Position: gerritstream.Position{After: seq},
			Entries: []gerritstream.Entry{
				{ID: gerritstream.EventID{byte(i)}, Shard: "shard", Seq: seq, Payload: bytes.Repeat([]byte("x"), size)},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	read := int64(0)
	for {
		page, err := r.page(t.Context(), read)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		if len(page) > readBytes/size {
			t.Errorf("a page of %d MiB", len(page))
		}
		read = page[len(page)-1].Number
	}
	if read != 12 {
		t.Errorf("read up to %d", read)
	}
}

// A file of an older version is read as it is, and with attributes after its
// migration.
func TestReaderOfAnOlderVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	makeOld(t, path, attributesSince-1)
	r, err := OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	if page, err := r.page(t.Context(), 0); err != nil || len(page) != 0 {
		t.Fatalf("%v, %v", page, err)
	}
	store, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	term, err := store.Campaign(t.Context(), 0, "shard")
	if err != nil {
		t.Fatal(err)
	}
	e := gerritstream.Entry{ID: gerritstream.EventID{1}, Shard: "shard", Seq: "1"}
	e.Event.Attributes = map[string]string{"a": "b"}
	err = term.Commit(t.Context(), gerritstream.Commit{
		Position: gerritstream.Position{After: "1"}, Entries: []gerritstream.Entry{e},
	})
	if err = errors.Join(err, store.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if page, err := r.page(t.Context(), 0); err != nil || len(page) != 1 || page[0].Entry.Event.Attributes["a"] != "b" {
		t.Errorf("%v, %v", page, err)
	}
}
