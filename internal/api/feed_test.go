package api

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

// tape drives a Feed as a consumer does, and looks on.
type tape struct {
	t    *testing.T
	feed *Feed
	o    *onlooker
}

func newTape(t *testing.T) *tape {
	return &tape{t: t, feed: NewFeed(), o: &onlooker{wants: func(*seen) bool { return true }, payloads: true}}
}

func record(seq int) *gerritstream.Record {
	return &gerritstream.Record{
		Seq: gerritstream.SequenceNumber(strconv.Itoa(seq)), Sub: gerritstream.NoSub,
		Data: fmt.Appendf(nil, "payload %d", seq),
	}
}

// judge judges records: "q" to be queued, "f" filtered, "d" dead-lettered.
func (tp *tape) judge(from int, verdicts string) {
	for i, v := range verdicts {
		verdict := gerritstream.Verdict{}
		switch v {
		case 'f':
			verdict.Filter = "type"
		case 'd':
			verdict.Bad = "json"
		}
		tp.feed.Judged(shard0, record(from+i), &verdict)
	}
}

// commit commits what is to be queued and dead-lettered of those.
func (tp *tape) commit(from int, verdicts string) {
	var c gerritstream.Commit
	for i, v := range verdicts {
		r := record(from + i)
		switch v {
		case 'q':
			c.Entries = append(c.Entries, gerritstream.Entry{Shard: shard0, Seq: r.Seq, Sub: r.Sub, Payload: r.Data})
		case 'd':
			c.DeadLetters = append(c.DeadLetters, gerritstream.DeadLetter{
				Shard: shard0, Seq: r.Seq, Sub: r.Sub, Reason: "json", Payload: r.Data,
			})
		}
		c.Position.After = r.Seq
	}
	tp.feed.Committed(shard0, 1, &c, 0)
}

// shows checks the lines that came: "1q 2f".
func (tp *tape) shows(want string) {
	tp.t.Helper()
	lines, missed := tp.o.take()
	var got []string
	for i := range lines {
		seq := lines[i].seen.entry.Seq
		got = append(got, string(seq)+lines[i].seen.kind()[:1])
		if payload := "payload " + string(seq); string(lines[i].payload) != payload {
			tp.t.Errorf("the payload of %s is %q", seq, lines[i].payload)
		}
	}
	if text := strings.Join(got, " "); text != want || missed > 0 {
		tp.t.Errorf("got %s and missed %d, want %s", text, missed, want)
	}
}

// A queued event shows once it is durable, and a filtered one does not overtake
// it.
func TestFeedKeepsTheOrder(t *testing.T) {
	tp := newTape(t)
	tp.feed.look(tp.o, 0)
	tp.judge(1, "fqfqdf")
	tp.shows("1f")
	tp.commit(1, "fqfqdf")
	tp.shows("2q 3f 4q 5d 6f")
	tp.judge(7, "f")
	tp.shows("7f")

	// A commit of the first part of a page.
	tp.judge(8, "qfqfq")
	tp.commit(8, "qfq")
	tp.shows("8q 9f 10q")
	tp.judge(13, "f")
	tp.shows("")
	tp.commit(11, "fq")
	tp.shows("11f 12q 13f")

	// A term that ends before its commit is judged again by the next.
	tp.judge(14, "qf")
	tp.feed.TermEnded(shard0, 1, nil)
	tp.feed.Elected(shard0, 2, gerritstream.Position{}, true)
	tp.shows("")
	tp.judge(14, "f")
	tp.shows("14f")
}

// A refusal of a sink is a dead letter besides the event, and no commit that
// something waits for.
func TestFeedShowsRefusals(t *testing.T) {
	tp := newTape(t)
	tp.feed.look(tp.o, 0)
	tp.judge(1, "qf")
	r := record(1)
	tp.feed.Committed(shard0, 1, &gerritstream.Commit{DeadLetters: []gerritstream.DeadLetter{{
		Shard: shard0, Seq: r.Seq, Sub: r.Sub, Reason: gerritstream.ReasonRejected, Payload: r.Data,
	}}}, 0)
	tp.shows("1d")
	tp.commit(1, "qf")
	tp.shows("1q 2f")
}

// An onlooker that takes nothing loses lines and learns how many; nobody waits
// for it, and the next one sees what is remembered.
func TestFeedWaitsForNobody(t *testing.T) {
	tp := newTape(t)
	tp.o.payloads = false
	tp.feed.look(tp.o, 0)
	const all = maxLines + 500
	for i := range all {
		tp.judge(i+1, "f")
	}
	lines, missed := tp.o.take()
	if len(lines) != maxLines || missed != 500 {
		t.Errorf("%d lines, %d missed", len(lines), missed)
	}
	tp.judge(all+1, "f")
	tp.o.payloads = true
	tp.shows2("one line", 1)
	tp.feed.leave(tp.o)
	if len(tp.feed.onlookers) > 0 {
		t.Error("it is still there")
	}
	later := &onlooker{wants: func(s *seen) bool { return s.entry.Seq != "4500" }}
	past := tp.feed.look(later, Remembered)
	if len(past) != Remembered-1 || past[0].seen.entry.Seq != "2598" || past[len(past)-1].seen.entry.Seq != "4597" {
		t.Errorf("%d are remembered, from %s to %s", len(past), past[0].seen.entry.Seq,
			past[len(past)-1].seen.entry.Seq)
	}
	if last := tp.feed.look(later, 2); len(last) != 2 || last[0].seen.entry.Seq != "4596" {
		t.Errorf("the last two are %v", last)
	}
}

func (tp *tape) shows2(what string, count int) {
	tp.t.Helper()
	if lines, missed := tp.o.take(); len(lines) != count || missed != 0 {
		tp.t.Errorf("%s: %d lines, %d missed", what, len(lines), missed)
	}
}

// The payloads that wait for an onlooker are bounded, but for a single one.
func TestFeedBoundsPayloads(t *testing.T) {
	tp := newTape(t)
	tp.feed.look(tp.o, 0)
	large := record(1)
	large.Data = make([]byte, maxPayload+1)
	for range 3 {
		tp.feed.Judged(shard0, large, &gerritstream.Verdict{Filter: "type"})
	}
	if lines, missed := tp.o.take(); len(lines) != 1 || missed != 2 || len(lines[0].payload) != maxPayload+1 {
		t.Errorf("%d lines, %d missed", len(lines), missed)
	}
	// Those of a shard that wait for its commit are bounded as well, and left
	// out.
	tp.judge(2, "q")
	data := make([]byte, maxPayload/2)
	for i := range maxHeld + 7 {
		large := record(3 + i)
		large.Data = data
		tp.feed.Judged(shard0, large, &gerritstream.Verdict{Filter: "type"})
	}
	tp.commit(2, "q")
	lines, missed := tp.o.take()
	if len(lines) != maxHeld || missed != 8 || lines[1].payload == nil || lines[2].payload != nil {
		t.Errorf("%d lines, %d missed", len(lines), missed)
	}
}

// A stream that was recreated has other identities.
func TestFeedForgetsARecreatedStream(t *testing.T) {
	tp := newTape(t)
	tp.judge(1, "ff")
	tp.feed.Lost("", gerritstream.Interval{Why: gerritstream.WhyTrimmed})
	if past := tp.feed.look(tp.o, 5); len(past) != 2 {
		t.Errorf("%d are remembered", len(past))
	}
	tp.feed.Lost("", gerritstream.Interval{Why: gerritstream.WhyRecreated})
	tp.feed.leave(tp.o)
	if past := tp.feed.look(tp.o, 5); len(past) != 0 {
		t.Errorf("%d are remembered", len(past))
	}
}

// Last returns the newest first, without payloads.
func TestLast(t *testing.T) {
	f := NewFeed()
	if last := f.Last(5); len(last) != 0 {
		t.Errorf("%d verdicts of none", len(last))
	}
	for i := range Remembered + 3 {
		f.Judged(shard0, record(i), &gerritstream.Verdict{Filter: "type"})
	}
	last := f.Last(5)
	newest, oldest := string(record(Remembered+2).Seq), string(record(Remembered-2).Seq)
	if len(last) != 5 || last[0].Sequence != newest || last[4].Sequence != oldest {
		t.Errorf("got %+v", last)
	}
	for _, v := range last {
		if v.Payload != nil || v.Bytes != nil || v.Rule != "type" || v.Verdict != Filtered {
			t.Errorf("got %+v", v)
		}
	}
}

// BenchmarkFeed is what a Feed that nobody looks at costs for each event.
func BenchmarkFeed(b *testing.B) {
	const page = 500
	for _, watched := range []bool{false, true} {
		b.Run(fmt.Sprintf("watched=%v", watched), func(b *testing.B) {
			f := NewFeed()
			if watched {
				f.look(&onlooker{wants: func(*seen) bool { return true }, payloads: true}, 0)
			}
			records := make([]*gerritstream.Record, page)
			var c gerritstream.Commit
			for i := range records {
				records[i] = record(1_000_000 + i)
				if i%2 == 0 {
					c.Entries = append(c.Entries, gerritstream.Entry{
						Shard: shard0, Seq: records[i].Seq, Payload: records[i].Data,
					})
				}
			}
			c.Position.After = records[page-1].Seq
			queued, filtered := &gerritstream.Verdict{}, &gerritstream.Verdict{Filter: "type"}
			b.ReportAllocs()
			for b.Loop() {
				for i, r := range records {
					v := queued
					if i%2 == 1 {
						v = filtered
					}
					f.Judged(shard0, r, v)
				}
				f.Committed(shard0, 1, &c, time.Millisecond)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*page), "ns/event")
		})
	}
}
