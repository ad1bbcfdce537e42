package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
)

// reader opens a reader of the schema.
func (s *shared) reader() *postgres.Reader {
	s.t.Helper()
	r, err := postgres.OpenReader(s.t.Context(), postgres.Config{URL: serverURL(s.t), Schema: s.schema})
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, r.Close(context.Background())) })
	return r
}

// All that is known of an event is read back, whatever its bytes, from a given
// place on.
func TestReaderReadsBack(t *testing.T) {
	t.Parallel()
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
	reader := s.reader()
	i := 0
	for got, err := range reader.Events(t.Context(), 0) {
		must(t, err)
		e, w := got.Entry, want[i]
		if !bytes.Equal(e.Payload, w.Payload) {
			t.Errorf("payload is %q, want %q", e.Payload, w.Payload)
		}
		e.Payload, w.Payload = nil, nil
		if !reflect.DeepEqual(e, w) {
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
	if n, err := reader.Number(t.Context(), want[1].ID); err != nil || n != 2 {
		t.Errorf("the second event has the number %d, %v", n, err)
	}
	first, err := reader.FirstArrival(t.Context(), 0, 2, time.UnixMilli(6))
	if err != nil || !first.Equal(want[0].Arrived) {
		t.Errorf("the first after a time arrived at %v, %v", first, err)
	}
	if e, err := reader.Extent(t.Context()); err != nil || e.Newest != 2 || time.Since(e.Oldest) > time.Minute {
		t.Errorf("the extent is %+v, %v", e, err)
	}
}

// A page is a few MiB of events, or one that is larger, and none is left out.
func TestPagesOfAReaderAreBounded(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.open()
	term := elect(t, store, shardA)
	must(t, store.Register(t.Context(), "a", queue.Filter{}, 0))
	const events, size = 12, 1 << 20
	for n := 1; n <= events; n++ {
		seq := gerritstream.SequenceNumber(strconv.Itoa(n))
		if n%3 == 0 {
			_, err := store.Append(t.Context(), "a", []gerritstream.Entry{entry(shardA, seq, size)})
			must(t, err)
			continue
		}
		must(t, term.Commit(t.Context(), commitOf(seq, entry(shardA, seq, size))))
	}
	read := 0
	for after := int64(0); read < events; {
		page, err := store.Read(t.Context(), "a", after, 500)
		must(t, err)
		if len(page) == 0 || len(page) > 5 {
			t.Fatalf("%d events of a MiB in a page", len(page))
		}
		for i := range page {
			if read++; string(page[i].Entry.Seq) != strconv.Itoa(read) || page[i].Replayed != (read%3 == 0) {
				t.Fatalf("event %d is %s, replayed: %v", read, page[i].Entry.Seq, page[i].Replayed)
			}
			after = page[i].Number
		}
	}
}

// Follow waits for events that are queued later, and ends with its context, or
// when the caller breaks off.
func TestReaderFollows(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	term := elect(t, s.open(), shardA)
	add := func(n int) {
		seq := gerritstream.SequenceNumber(strconv.Itoa(n))
		must(t, term.Commit(t.Context(), commitOf(seq, entry(shardA, seq, 1))))
	}
	add(1)
	reader := s.reader()
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

// The last events are found by a filter, in whatever order the types come.
func TestLast(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	r := a.reader()
	last := func(count int, types ...string) int64 {
		m, err := queue.Filter{Types: types}.Matcher()
		must(t, err)
		n, err := r.Last(t.Context(), count, m)
		must(t, err)
		return n
	}
	if n := last(3); n != 0 {
		t.Errorf("of an empty queue: %d", n)
	}
	a.commit(10)
	a.exec(`UPDATE events SET type = 'a' WHERE n IN (2, 5, 9)`)
	for want, got := range map[int64]int64{10: last(0), 7: last(3), 0: last(10), 4: last(2, "a"), 8: last(1, "a")} {
		if got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	for want, got := range map[int64]int64{0: last(11), 1: last(4, "a"), 10: last(1, "b")} {
		if got != want {
			t.Errorf("of more than there are: %d, want %d", got, want)
		}
	}
}

// A reader needs no more than to read, and changes nothing.
func TestAReaderOnlyReads(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store := s.open()
	must(t, elect(t, store, shardA).Commit(t.Context(), commitOf("1", entry(shardA, "1", 10))))
	must(t, store.Register(t.Context(), "a", queue.Filter{}, 0))
	config := postgres.Config{URL: serverURL(t), Schema: s.schema}
	s.exec(`DROP ROLE IF EXISTS "only reader"`)
	s.exec(`CREATE ROLE "only reader" LOGIN PASSWORD 'reads'`)
	t.Cleanup(func() { s.exec(`DROP OWNED BY "only reader"`); s.exec(`DROP ROLE "only reader"`) })
	u, err := url.Parse(config.URL)
	must(t, err)
	u.User = url.UserPassword("only reader", "reads")
	config.URL = u.String()
	if _, err := postgres.OpenReader(t.Context(), config); !errors.Is(err, gerritstream.ErrDenied) {
		t.Errorf("opened without a privilege: %v", err)
	}
	s.exec(`GRANT USAGE ON SCHEMA "` + s.schema + `" TO "only reader"`)
	s.exec(`GRANT SELECT ON ALL TABLES IN SCHEMA "` + s.schema + `" TO "only reader"`)
	config.URL += "&default_transaction_read_only=on" // as on a standby
	r, err := postgres.OpenReader(t.Context(), config)
	must(t, err)
	defer r.Close(t.Context())
	for _, err := range r.Events(t.Context(), 0) {
		must(t, err)
	}
	infos, err := r.Consumers(t.Context())
	if err != nil || len(infos) != 1 || infos[0].Pending != 1 {
		t.Errorf("the consumers are %+v, %v", infos, err)
	}
	_, err = r.HookStates(t.Context())
	must(t, err)
}

// Who follows the queue lives through a server that is away.
func TestFollowOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	s, link := newLinked(t)
	via := s.url
	s.url = serverURL(t)
	term := elect(t, s.openWith(postgres.Config{LeaseTTL: patience}), shardA)
	must(t, term.Commit(within(t), commitOf("1", entry(shardA, "1", 10))))
	r, err := postgres.OpenReader(within(t), postgres.Config{URL: via, Schema: s.schema})
	must(t, err)
	defer r.Close(context.Background())
	seen := 0
	for e, err := range r.Follow(within(t), 0) {
		must(t, err)
		if seen++; int64(seen) != e.Number {
			t.Fatalf("event %d is number %d", seen, e.Number)
		}
		if seen == 2 {
			break
		}
		link.Cut()
		time.AfterFunc(300*time.Millisecond, link.Restore)
		must(t, term.Commit(within(t), commitOf("2", entry(shardA, "2", 10))))
	}
}
