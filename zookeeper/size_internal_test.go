package zookeeper

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

// widest returns a term of a Store whose names are as long as they may be, and
// the largest position.
func widest() (*term, gerritstream.Position) {
	chroot, name := "/"+strings.Repeat("c", maxNameLength-1), strings.Repeat("n", maxNameLength)
	t := &term{
		store: &Store{at: newLayout(chroot, name), config: Config{Now: time.Now}},
		shard: gerritstream.ShardID(strings.Repeat("s", 128)), lock: lockNode{number: 1 << 63}, version: absent,
	}
	t.lock.path = t.store.at.election(t.shard) + "/" + strings.Repeat("0", 32) + "__lock__0000000000"
	pos := gerritstream.Position{After: longest, Arrived: time.Now(), CaughtUp: time.Now(),
		Partial: &gerritstream.Partial{Seq: longest, Sub: 1 << 30}}
	for range 16 {
		pos.Lost = append(pos.Lost, gerritstream.Interval{From: time.Now(), Until: time.Now(),
			Why: gerritstream.WhyForeignLed})
	}
	return t, pos
}

// longest is a sequence number that has as many digits as there may be.
var longest = gerritstream.SequenceNumber(strings.Repeat("9", 128))

// A commit within the limits is within what the servers take, whatever it
// holds.
func TestCommitsWithinTheLimitsFit(t *testing.T) {
	term, pos := widest()
	texts := []string{"", "a", "<", "\x00", "\u2028", "\"", "\xff", "\U0001F600"}
	for _, text := range texts {
		for _, long := range []int{0, 100, 171, 1024, 6000, 1 << 20} {
			for _, payload := range []int{0, 1, 4_000, 5_488, gerritstream.MaxDeadLetterBytes} {
				d := gerritstream.DeadLetter{
					Shard: term.shard, Seq: longest, Sub: 1 << 30, Arrived: time.Now(), Length: 10 << 20,
					Payload: make([]byte, payload),
					Reason:  strings.Repeat(text, long), Detail: strings.Repeat(text, long),
				}
				e := gerritstream.Entry{Shard: term.shard, Seq: longest, Payload: make([]byte, payload)}
				attempt := &commitAttempt{
					term: term, position: pos, began: time.Now(),
					deadLetters: slices.Repeat([]gerritstream.DeadLetter{d},
						max(1, min(limits.Items, limits.Weight/d.Weight()))),
				}
				check(t, attempt, fmt.Sprintf("dead letters of %d bytes with %d times %q", payload, long, text))
				half := limits.Weight / 2 / max(d.Weight(), e.Weight())
				attempt.deadLetters, attempt.entries = attempt.deadLetters[:min(len(attempt.deadLetters), half,
					limits.Items/2)], slices.Repeat([]gerritstream.Entry{e}, min(half, limits.Items/2))
				check(t, attempt, fmt.Sprintf("dead letters and entries of %d bytes with %d times %q", payload, long,
					text))
			}
		}
	}
	for _, payload := range []int{0, 5_488, 60_000, maxInline - envelopeOverhead} {
		e := gerritstream.Entry{Shard: term.shard, Seq: longest, Payload: make([]byte, payload)}
		attempt := &commitAttempt{
			term: term, position: pos, began: time.Now(),
			entries: slices.Repeat([]gerritstream.Entry{e}, max(1, min(limits.Items, limits.Weight/e.Weight()))),
		}
		check(t, attempt, fmt.Sprintf("entries of %d bytes", payload))
	}
}

func check(t *testing.T, attempt *commitAttempt, what string) {
	t.Helper()
	c := gerritstream.Commit{Entries: attempt.entries, DeadLetters: attempt.deadLetters}
	if err := c.Check(limits); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if err := fit(len(appendTransaction(nil, attempt.build().list)) - 4); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// A text is clipped by its length in JSON, and stays valid UTF-8.
func TestClip(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", ""}, {"12345678", "12345678"}, {"123456789", "12345678"}, {"<<", "<"}, {"1\"\\\"2", "1\"\\\"2"},
		{"1\"\\\"\"", "1\"\\\""},
		{"1\xff2", "1?2"}, {"éééééé", "éééé"}, {"1\U0001F600\U0001F600", "1\U0001F600"}, {"\x00\x00", "\x00"},
		{"12\u2028", "12\u2028"}, {"123\u2028", "123"},
	} {
		if got := clip(tc.text, 8); got != tc.want {
			t.Errorf("%q is cut to %q, want %q", tc.text, got, tc.want)
		}
	}
}

// A report that would not fit lists as many shards as do.
func TestALargeReportIsCut(t *testing.T) {
	r := gerritstream.Report{Process: "p"}
	for i := range 5_000 {
		r.Status.Shards = append(r.Status.Shards, gerritstream.ShardStatus{
			Shard: gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i)), Trouble: strings.Repeat("<", 100),
		})
	}
	data, err := encodeReport(r)
	if err != nil || len(data) > maxRequest || len(data) < maxRequest/4 {
		t.Errorf("a report of %d shards takes %d bytes, %v", len(r.Status.Shards), len(data), err)
	}
}
