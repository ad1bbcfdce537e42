package history_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/history"
)

const (
	parent gerritstream.ShardID = "shardId-000000000000"
	child  gerritstream.ShardID = "shardId-000000000001"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func seq(n int) gerritstream.SequenceNumber {
	return gerritstream.SequenceNumber(fmt.Sprint(100 + n))
}

// item is record n of a shard.
func item(shard gerritstream.ShardID, n int, want history.Outcome) history.Item {
	return history.Item{
		Shard: shard, Seq: seq(n), Sub: gerritstream.NoSub, Outcome: want,
		ID: fmt.Sprintf("%s-%d", shard, n), Sum: history.Sum([]byte{byte(n)}),
	}
}

func after(n int) *gerritstream.Position {
	return &gerritstream.Position{After: seq(n), Arrived: epoch}
}

func endedAfter(n int) *gerritstream.Position {
	p := after(n)
	p.Ended = true
	return p
}

// good is a history without faults: a parent with records 1 to 4, led by two
// terms, and a child with 5 and 6.
func good() []history.Event {
	q, f, d := history.Queued, history.Filtered, history.DeadLetter
	events := []history.Event{
		{Kind: history.KindShard, Shard: parent},
		{Kind: history.KindShard, Shard: child, Parents: []gerritstream.ShardID{parent}},
		{Kind: history.KindPut, Items: []history.Item{item(parent, 1, q), item(parent, 2, f), item(parent, 3, d)}},
		{Kind: history.KindElected, Process: "a", Shard: parent, Term: 1},
		{Kind: history.KindCommitted, Process: "a", Shard: parent, Term: 1, Position: after(1),
			Items: []history.Item{item("", 1, q)}},
		{Kind: history.KindPut, Items: []history.Item{item(parent, 4, q), item(child, 5, q), item(child, 6, q)}},
		{Kind: history.KindElected, Process: "b", Shard: parent, Term: 2, Position: after(1)},
		{Kind: history.KindCommitted, Process: "b", Shard: parent, Term: 2, Position: after(3),
			Items: []history.Item{item("", 3, d)}},
		{Kind: history.KindCommitted, Process: "b", Shard: parent, Term: 2, Position: endedAfter(4),
			Items: []history.Item{item("", 4, q)}},
		{Kind: history.KindElected, Process: "a", Shard: child, Term: 1},
		{Kind: history.KindCommitted, Process: "a", Shard: child, Term: 1, Position: after(6),
			Items: []history.Item{item("", 5, q), item("", 6, q)}},
		{Kind: history.KindQueue,
			Items: []history.Item{item(parent, 1, q), item(parent, 4, q), item(child, 5, q), item(child, 6, q)}},
		{Kind: history.KindDeadLetters, Items: []history.Item{item(parent, 3, d)}},
	}
	for i := range events {
		events[i].At = epoch.Add(time.Duration(i) * time.Second)
		for j := range events[i].Items {
			if events[i].Kind == history.KindCommitted {
				events[i].Items[j].ID = fmt.Sprintf("%s-%s", events[i].Shard,
					strings.TrimLeft(string(events[i].Items[j].Seq)[1:], "0"))
			}
		}
	}
	return events
}

// The indexes of good's events.
const (
	put1, committed1, elected2, committed3, committed4, electedChild, queue, deadLetters = 2, 4, 6, 7, 8, 9, 11, 12
)

// again is a history of two streams of one name: the term numbers of the second
// continue, its positions begin again.
func again() []history.Event {
	first := good()
	second := good()
	for i := range second {
		e := &second[i]
		e.At = e.At.Add(time.Hour)
		if e.Term > 0 {
			e.Term += 10
		}
		if e.Position != nil {
			e.Position.After = later(e.Position.After)
		}
		for j := range e.Items {
			e.Items[j].Seq, e.Items[j].ID = later(e.Items[j].Seq), "again "+e.Items[j].ID
		}
	}
	first[queue].Items = append(first[queue].Items, second[queue].Items...)
	first[deadLetters].Items = append(first[deadLetters].Items, second[deadLetters].Items...)
	first[queue].At, first[deadLetters].At = epoch.Add(2*time.Hour), epoch.Add(2*time.Hour)
	events := slices.Concat(
		[]history.Event{{At: epoch, Kind: history.KindCreated}}, first[:queue],
		[]history.Event{{At: epoch.Add(time.Hour), Kind: history.KindCreated}}, second[:queue],
		first[queue:],
	)
	// A leadership of the first stream that noticed its end late.
	late := first[committed4]
	late.At = epoch.Add(time.Hour + time.Second)
	late.Items = nil
	return slices.Insert(events, queue+2, late)
}

func later(seq gerritstream.SequenceNumber) gerritstream.SequenceNumber { return "1" + seq }

// TestStreamsOfOneNameAreJudgedAlone: the children of one are not children of
// the other, and the queue holds everything of both.
func TestStreamsOfOneNameAreJudgedAlone(t *testing.T) {
	r := history.Check(again())
	if !r.Good() || r.Put != 12 || r.Queued != 8 || r.Filtered != 2 || r.DeadLettered != 2 || r.Terms != 6 {
		t.Errorf("a good history of two streams: %+v", r)
	}
	spoilt := again()
	q := &spoilt[len(spoilt)-2]
	q.Items = slices.Delete(q.Items, 1, 2) // of the first stream
	if r := history.Check(spoilt); r.Lost != 1 || r.Duplicated+r.Disordered+r.Broken != 0 {
		t.Errorf("a record of the first stream is missing: %+v", r)
	}
	if r := history.Check(slices.DeleteFunc(again(),
		func(e history.Event) bool { return e.Kind == history.KindCreated })); r.Good() {
		t.Error("two streams taken for one are good")
	}
}

func TestCheckAGoodHistory(t *testing.T) {
	r := history.Check(good())
	if !r.Good() || r.Put != 6 || r.Queued != 4 || r.Filtered != 1 || r.DeadLettered != 1 || r.Terms != 3 ||
		r.Commits != 4 {
		t.Errorf("%+v", r)
	}
	if r.LongestPause != 5*time.Second { // record 5 waits from second 5, the child's commit is in second 10
		t.Errorf("longest pause %v", r.LongestPause)
	}
}

// TestCheckFindsEachFault spoils the good history in each way.
func TestCheckFindsEachFault(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(e []history.Event) []history.Event
		count func(r history.Report) int // the one that must find it
		says  string
	}{
		{"lost", func(e []history.Event) []history.Event {
			e[queue].Items = slices.Delete(e[queue].Items, 1, 2)
			return e
		}, lost, "104: lost, want queued"},
		{"lost bad record", func(e []history.Event) []history.Event {
			return e[:deadLetters]
		}, lost, "103: lost, want dead letter"},
		{"lost bad record, where one was discarded", func(e []history.Event) []history.Event {
			e[put1].Items = append(e[put1].Items, item(child, 7, history.DeadLetter))
			e[deadLetters] = history.Event{At: e[deadLetters].At, Kind: history.KindDiscarded, Count: 1}
			return e
		}, lost, "107: lost, want dead letter"},
		{"lost, though filtered by no one", func(e []history.Event) []history.Event {
			return append(e, history.Event{At: e[deadLetters].At, Kind: history.KindFiltered})
		}, lost, "102: lost, want filtered"},
		{"acknowledged twice", func(e []history.Event) []history.Event {
			e[put1].Items = append(e[put1].Items, item(parent, 1, history.Queued))
			return e
		}, lost, "101: acknowledged twice"},
		{"doubled", func(e []history.Event) []history.Event {
			e[queue].Items = append(e[queue].Items, e[queue].Items[3])
			return e
		}, duplicated, "106: found 2 times (queued, queued), want queued once"},
		{"disordered within a shard", func(e []history.Event) []history.Event {
			i := e[queue].Items
			i[2], i[3] = i[3], i[2]
			return e
		}, disordered, "105: queued after"},
		{"child before parent", func(e []history.Event) []history.Event {
			i := e[queue].Items
			i[1], i[2] = i[2], i[1]
			return e
		}, disordered, "after records of its shard's child"},
		{"other bytes", func(e []history.Event) []history.Event {
			e[queue].Items[0].Sum = "x"
			return e
		}, misjudged, "queued with other bytes"},
		{"another type", func(e []history.Event) []history.Event {
			e[put1].Items[0].Detail, e[queue].Items[0].Detail = "change-merged", "ref-updated"
			return e
		}, misjudged, "101: queued (ref-updated), want queued (change-merged)"},
		{"never put", func(e []history.Event) []history.Event {
			e[queue].Items = append(e[queue].Items, item(child, 9, history.Queued))
			return e
		}, unexpected, "109: queued, never put"},
		{"a part of a record that has none", func(e []history.Event) []history.Event {
			part := item(parent, 1, history.Queued)
			part.Sub = 0
			e[queue].Items = append(e[queue].Items, part)
			return e
		}, unexpected, "101/0: queued, never put"},
		{"filtered record in the queue", func(e []history.Event) []history.Event {
			e[queue].Items = slices.Insert(e[queue].Items, 1, item(parent, 2, history.Filtered))
			return e
		}, misjudged, "102: queued, want filtered"},
		{"good record queued and dead-lettered", func(e []history.Event) []history.Event {
			e[deadLetters].Items = append(e[deadLetters].Items, item(parent, 1, history.Queued))
			return e
		}, duplicated, "101: found 2 times (queued, dead letter), want queued once"},
		{"good record dead-lettered", func(e []history.Event) []history.Event {
			e[queue].Items = slices.Delete(e[queue].Items, 0, 1)
			e[deadLetters].Items = append(e[deadLetters].Items, item(parent, 1, history.Queued))
			return e
		}, misjudged, "101: dead letter, want queued"},
		{"another id on redelivery", func(e []history.Event) []history.Event {
			e[committed4].Items[0].ID = "another"
			return e
		}, broken, "has the ids"},
		{"a dead term committed", func(e []history.Event) []history.Event {
			late := e[committed1]
			late.At, late.Position, late.Items = e[deadLetters].At, after(2), []history.Item{item("", 2,
				history.Queued)}
			late.Items[0].ID = ""
			return append(e, late)
		}, broken, "before what was committed"},
		{"a commit was forgotten", func(e []history.Event) []history.Event {
			e[elected2].Position = nil
			return e
		}, broken, "before what was committed"},
		{"a position went back", func(e []history.Event) []history.Event {
			e[committed4].Position = after(2)
			return e
		}, broken, "went back"},
		{"records after the end", func(e []history.Event) []history.Event {
			e[committed3].Position = endedAfter(3)
			return e
		}, broken, "after the shard's end"},
		{"a term that is there twice", func(e []history.Event) []history.Event {
			e[elected2].Term, e[committed3].Term, e[committed4].Term = 1, 1, 1
			return e
		}, broken, "has term 1 twice"},
		{"a commit without a term", func(e []history.Event) []history.Event {
			return slices.Delete(e, electedChild, electedChild+1)
		}, broken, "never began"},
		{"handled again", func(e []history.Event) []history.Event {
			e[committed3].Items = append(e[committed3].Items, item("", 1, history.Queued))
			e[committed3].Items[1].ID = ""
			return e
		}, broken, "which was handled when it began"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := history.Check(tt.spoil(good()))
			if r.Good() || tt.count(r) == 0 || tt.count(r) != faults(r) ||
				!strings.Contains(strings.Join(r.Problems, "\n"), tt.says) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func lost(r history.Report) int       { return r.Lost }
func duplicated(r history.Report) int { return r.Duplicated }
func misjudged(r history.Report) int  { return r.Misjudged }
func unexpected(r history.Report) int { return r.Unexpected }
func disordered(r history.Report) int { return r.Disordered }
func broken(r history.Report) int     { return r.Broken }

// faults is the sum of all counts of faults.
func faults(r history.Report) int {
	return r.Lost + r.Duplicated + r.Misjudged + r.Unexpected + r.Disordered + r.Broken
}

func TestCompare(t *testing.T) {
	put := []history.Item{item(parent, 1, history.Queued), item(parent, 2, history.DeadLetter)}
	if r := history.Compare(put, put[:1], put[1:]); !r.Good() || r.Err() != nil || r.Queued != 1 ||
		r.DeadLettered != 1 {
		t.Errorf("%+v", r)
	}
	r := history.Compare(put, append(put[:1:1], put[0]), nil)
	err := r.Err()
	if err == nil || !strings.HasPrefix(err.Error(),
		"1 lost, 1 duplicated, 0 misjudged, 0 unexpected, 0 disordered\nfor example: ") {
		t.Errorf("got %v", err)
	}
}

// TestCompareEntries: rows are known by their ids, and an entry may be wanted
// again, after later ones.
func TestCompareEntries(t *testing.T) {
	var e []gerritstream.Entry
	for n := range 4 {
		e = append(e,
			gerritstream.Entry{ID: gerritstream.EventID{byte(n)}, Shard: parent, Seq: seq(n), Payload: []byte{byte(n)}})
	}
	row := func(n int) gerritstream.Entry { return gerritstream.Entry{ID: e[n].ID, Payload: e[n].Payload} }
	changed := row(1)
	changed.Payload = []byte("x")
	for _, tt := range []struct {
		name       string
		want, rows []gerritstream.Entry
		count      func(history.Report) int // nil: good
	}{
		{"good", e[:2], []gerritstream.Entry{row(0), row(1)}, nil},
		{"again", append(e[:3:3], e[1]), []gerritstream.Entry{row(0), row(1), row(2), row(1)}, nil},
		{"not again", append(e[:3:3], e[1]), []gerritstream.Entry{row(0), row(1), row(2)}, lost},
		{"lost", e[:2], []gerritstream.Entry{row(1)}, lost},
		{"doubled", e[:2], []gerritstream.Entry{row(0), row(1), row(1)}, duplicated},
		{"disordered", e[:2], []gerritstream.Entry{row(1), row(0)}, disordered},
		{"unexpected", e[:2], []gerritstream.Entry{row(0), row(1), row(3)}, unexpected},
		{"changed", e[:2], []gerritstream.Entry{row(0), changed}, misjudged},
	} {
		r := history.CompareEntries(tt.want, tt.rows)
		if tt.count == nil && !r.Good() || tt.count != nil && (tt.count(r) != 1 || faults(r) != 1) {
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
}

// TestErrNamesAFew: the counts are complete, the examples are not.
func TestErrNamesAFew(t *testing.T) {
	var put []history.Item
	for n := range 99 {
		put = append(put, item(parent, n, history.Queued))
	}
	r := history.Compare(put, nil, nil)
	if err := r.Err().Error(); r.Lost != 99 || strings.Count(err, "for example: ") != 5 {
		t.Errorf("%d lost: %s", r.Lost, err)
	}
}

var _ consumer.Observer = (*history.Writer)(nil)

func TestWriterAndRead(t *testing.T) {
	folder := t.TempDir()
	f, err := os.Create(filepath.Join(folder, "a.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	w := history.NewWriter(f, "a")
	w.Elected(parent, 1, gerritstream.Position{}, false)
	w.PageRead(parent, &gerritstream.Page{})
	w.PageRead(parent, &gerritstream.Page{}) // is not written
	w.PageRead(parent, &gerritstream.Page{Records: []gerritstream.Record{{Seq: seq(1), Sub: 2}}})
	w.Committed(parent, 1, &gerritstream.Commit{
		Position:    *after(2),
		Entries:     []gerritstream.Entry{{Seq: seq(1), Sub: 2}},
		DeadLetters: []gerritstream.DeadLetter{{Seq: seq(2), Sub: gerritstream.NoSub}},
	}, time.Second)
	w.Lost(parent, gerritstream.Interval{Why: "trimmed"})
	w.TermEnded(parent, 1, gerritstream.ErrLeadershipLost)
	if err := w.Err(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	events, err := history.Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []history.Kind
	for _, e := range events {
		kinds = append(kinds, e.Kind)
		if e.Process != "a" || e.Shard != parent || e.At.IsZero() {
			t.Errorf("%+v", e)
		}
	}
	want := []history.Kind{history.KindElected, history.KindRead, history.KindRead, history.KindCommitted,
		history.KindLost, history.KindTermEnded}
	if !slices.Equal(kinds, want) {
		t.Errorf("got %v, want %v", kinds, want)
	}
	if items := events[3].Items; len(items) != 2 || items[0].Outcome != history.Queued ||
		items[1].Outcome != history.DeadLetter ||
		len(items[0].ID) != 32 {
		t.Errorf("%+v", items)
	}
	w.TermEnded(parent, 1, nil) // the file is closed
	if w.Err() == nil {
		t.Error("a failed write is not reported")
	}
}

func TestReadRefusesWhatIsCut(t *testing.T) {
	folder := t.TempDir()
	if _, err := history.Read(folder); err == nil {
		t.Error("an empty folder is a history")
	}
	if err := os.WriteFile(filepath.Join(folder, "a.ndjson"), []byte(`{"kind":"put"}`+"\n"+`{"kind`),
		0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Read(folder); err == nil || !strings.Contains(err.Error(), "event 2") {
		t.Errorf("got %v", err)
	}
}
