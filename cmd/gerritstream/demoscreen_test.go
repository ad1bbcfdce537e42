package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

// judged shows an Observer a record.
func judged(l *verdictLines, shard gerritstream.ShardID, seq gerritstream.SequenceNumber, v gerritstream.Verdict) {
	l.Judged(shard, &gerritstream.Record{Seq: seq, Sub: gerritstream.NoSub, Last: true}, &v)
}

func committed(l *verdictLines, shard gerritstream.ShardID, after gerritstream.SequenceNumber) {
	l.Committed(shard, 1, &gerritstream.Commit{Position: gerritstream.Position{After: after}}, 0)
}

var (
	merged = gerritstream.Verdict{Event: gerritstream.Event{Type: "change-merged", Project: "p", Change: 4711}}
	meta   = gerritstream.Verdict{Filter: "meta-ref",
		Event: gerritstream.Event{Type: "ref-updated", Project: "p", Ref: "refs/changes/11/4711/meta"}}
	broken = gerritstream.Verdict{Bad: "utf8", Detail: "byte 9: not UTF-8"}
)

// TestVerdictIsShownOnceItIsFinal: what is queued or dead-lettered once that is
// committed, what is filtered at once, but not before earlier records of its
// shard, and nothing twice when a term judges again.
func TestVerdictIsShownOnceItIsFinal(t *testing.T) {
	const shard, other = "shardId-000000000003", "shardId-000000000012"
	var shown []string
	l := newVerdictLines(false, func(line string) { shown = append(shown, strings.Join(strings.Fields(line), " ")) })
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(shown, want) {
			t.Errorf("got  %q\nwant %q", shown, want)
		}
		shown = nil
	}
	const (
		asMerged = "queued shard 3 change-merged p change 4711"
		asMeta   = "filtered: meta-ref shard 3 ref-updated p change 4711, its notes"
		asBroken = "dead letter shard 3 utf8: byte 9: not UTF-8"
	)
	judged(l, shard, "9", meta)
	expect(asMeta)
	judged(l, shard, "10", merged)
	judged(l, shard, "11", meta)
	judged(l, shard, "12", broken)
	judged(l, shard, "13", merged)
	expect()
	judged(l, other, "1", meta)
	expect(strings.Replace(asMeta, "shard 3", "shard 12", 1))
	committed(l, shard, "10")
	expect(asMerged, asMeta)

	l.Elected(shard, 2, gerritstream.Position{}, true) // the commit of 12 and 13 came to nothing
	judged(l, shard, "11", meta)
	expect()
	judged(l, shard, "12", broken)
	judged(l, shard, "13", merged)
	committed(l, shard, "13")
	expect(asBroken, asMerged)
	if got := l.total(); got != (total{queued: 2, filtered: 3, dead: 1}) {
		t.Errorf("total %+v", got)
	}
	if got := l.total().String(); got != "2 queued, 3 filtered, 1 dead letter" {
		t.Error(got)
	}
}

func TestAbout(t *testing.T) {
	for want, e := range map[string]gerritstream.Event{
		"":                                {},
		"change 7":                        {Change: 7, Ref: "refs/heads/main"},
		"refs/heads/main":                 {Ref: "refs/heads/main"},
		"change 4711, its notes":          {Ref: "refs/changes/11/4711/meta"},
		"change 4711, patch set 2":        {Ref: "refs/changes/11/4711/2"},
		"refs/changes/11/4711/robot/meta": {Ref: "refs/changes/11/4711/robot/meta"},
	} {
		if got := about(&e); got != want {
			t.Errorf("%+v: %q, want %q", e, got, want)
		}
	}
}

func TestPaint(t *testing.T) {
	l := newVerdictLines(true, nil)
	for _, v := range []gerritstream.Verdict{merged, meta, broken} {
		if _, line := l.describe("shardId-000000000000", &v); !strings.HasPrefix(line, "\x1b[") ||
			strings.Count(line, "\x1b[0m") != 1 {
			t.Errorf("%q", line)
		}
	}
}

// TestScreen: everything is written before it finishes.
func TestScreen(t *testing.T) {
	var b strings.Builder
	s := newScreen(&b)
	go s.run()
	for range 3 * screenLines {
		s.show(t.Context(), "line")
	}
	if err := s.finish(time.Minute); err != nil || b.String() != strings.Repeat("line\n", 3*screenLines) {
		t.Errorf("%v, %d bytes", err, b.Len())
	}
}

// TestScreenThatTakesNothing: a blocked output keeps nobody from stopping.
func TestScreenThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		s := newScreen(w)
		go s.run()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 2 * screenLines {
			s.show(ctx, "line")
		}
		began := time.Now()
		if err := s.finish(lastLines); err != nil || time.Since(began) != lastLines {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = r.Close() // the write that is under way ends
		<-s.ended
	})
}

// TestScreenThatIsGone: a closed output is an error, and takes no more lines.
func TestScreenThatIsGone(t *testing.T) {
	r, w := io.Pipe()
	_ = r.Close()
	s := newScreen(w)
	go s.run()
	s.show(t.Context(), "line")
	<-s.ended
	for range 2 * screenLines {
		s.show(t.Context(), "line")
	}
	if err := s.finish(time.Minute); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 20000: "20,000",
		1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
}
