package overview

import (
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/trouble"
)

// All that the first line can say, to be read aloud.
func TestSentences(t *testing.T) {
	const day = 24*time.Hour - time.Second
	reads := func(open, read, waits int) sum {
		return sum{open: open, read: read, waits: waits, rate: Unknown, processes: 1}
	}
	with := func(s sum, change func(*sum)) sum { change(&s); return s }
	zooKeeper := Setup{Store: "zookeeper://zk1"}
	lost := []Loss{{Until: now.Add(-time.Hour)}}
	for _, tt := range []struct {
		v    View
		want string
	}{
		{View{sum: with(reads(1, 1, 0), func(s *sum) { s.atTip, s.rate = true, 0 })},
			"The shard is read, at the tip, no event lately."},
		{View{sum: with(reads(2, 2, 0), func(s *sum) { s.lag = 400 * time.Millisecond })},
			"Both shards are read, 0.4 s behind."},
		{View{sum: with(reads(4, 4, 0), func(s *sum) {
			s.lag, s.rate, s.headroom, s.hasRoom = 400*time.Millisecond, 25.2, day, true
		})}, "All 4 shards are read, 0.4 s behind, 25 events/s; 23 h 59 min until data would be lost."},
		{View{sum: with(reads(12345, 12345, 0), func(s *sum) { s.atTip, s.rate = true, 12345 })},
			"All 12\u202f345 shards are read, at the tip, 12\u202f345 events/s."},
		{View{sum: with(reads(4, 4, 0), func(s *sum) { s.lag, s.headroom, s.hasRoom = time.Hour, day, true }), Losses: lost},
			"All 4 shards are read, 1 h behind, but records may have been lost; 23 h 59 min until more would be lost."},
		{View{sum: with(reads(4, 4, 0), func(s *sum) { s.lag, s.hasRoom = 24*time.Hour, true })},
			"All 4 shards are read, 24 h behind; what was not read is being lost."},

		{View{sum: reads(4, 3, 0)}, "3 of 4 shards are read."},
		{View{sum: reads(4, 1, 0)}, "1 of 4 shards is read."},
		{View{sum: reads(4, 4, 1)}, "3 of 4 shards are read and 1 waits."},
		{View{sum: reads(4, 3, 2)}, "1 of 4 shards is read and 2 wait."},
		{View{sum: reads(4, 3, 3)}, "3 of 4 shards wait, and the others are not read."},
		{View{sum: reads(4, 1, 1)}, "1 of 4 shards waits, and the others are not read."},
		{View{sum: with(reads(4, 4, 4), func(s *sum) { s.lag, s.headroom, s.hasRoom = 77*time.Second, day, true })},
			"All 4 shards wait, 77 s behind; 23 h 59 min until data would be lost."},
		{View{sum: reads(2, 2, 2)}, "Both shards wait."},
		{View{sum: with(reads(1, 1, 1), func(s *sum) { s.lag = 3 * time.Minute })}, "The shard waits, 3 min behind."},
		{View{sum: reads(1, 0, 0)}, "The shard is not read."},
		{View{sum: reads(4, 0, 0)}, "None of the 4 shards is read."},
		{View{sum: with(reads(1, 0, 0), func(s *sum) { s.processes = 0 })}, "The shard is not read: no process runs."},
		{View{sum: with(reads(2, 0, 0), func(s *sum) { s.processes = 0 })}, "Neither shard is read: no process runs."},
		{View{sum: with(reads(4, 0, 0), func(s *sum) { s.processes = 0 })}, "None of the 4 shards is read: no process runs."},

		{View{sum: sum{}}, "Nothing has been read yet."},
		{View{sum: sum{processes: 1}}, "Starting: the stream has not been listed yet."},
		{View{sum: sum{processes: 1}, Level: Trouble}, "No shard is read: the stream cannot be listed."},
		{View{sum: sum{ended: 1, processes: 1}, Shards: make([]Shard, 1)}, "The shard has ended and was read to its end."},
		{View{sum: sum{ended: 3, processes: 1}, Shards: make([]Shard, 3)}, "All 3 shards have ended and were read to their ends."},
		{View{sum: with(reads(4, 1, 0), func(s *sum) { s.storeAway, s.headroom, s.hasRoom = 42*time.Second, day, true }),
			Setup: zooKeeper},
			"ZooKeeper has not answered this process for 42 s, so it can queue nothing; " +
				"23 h 59 min until data would be lost."},
		{View{sum: with(reads(4, 1, 0), func(s *sum) { s.storeAway = 5 * time.Minute })},
			"The store has not answered this process for 5 min, so it can queue nothing."},
	} {
		tt.v.From.Now = now
		if got := tt.v.sentence(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// All that can be said of a cause, to be read aloud.
func TestCausesAreEnglish(t *testing.T) {
	const denied = "kinesis:GetRecords on arn:aws:kinesis:us-west-2:123456789012:stream/gerrit/shardId-000000000001: x"
	for _, tt := range []struct {
		k     string
		text  string
		thing string
		of    []string
		want  string
	}{
		{"queue-full", "reading paused: Zuul's queue is full (509 of 500)", "shard", []string{"0", "1"},
			"Zuul's queue is full (509 of 500): 2 shards wait (shards 0, 1)"},
		{"throttled", denied, "shard", []string{"1"}, "Kinesis throttles the reads, perhaps because another program reads " +
			"the stream too: 1 shard waits (shard 1): kinesis:GetRecords on stream gerrit/shardId-000000000001: x"},
		{"access-denied", denied, "process", []string{"a-1-x"}, "Kinesis refuses access (a-1-x): " +
			"kinesis:GetRecords on stream gerrit/shardId-000000000001: x"},
		{"store-away", "waiting for the store to commit", "shard", []string{"10", "9", "8", "7", "6"},
			"Waiting for the store to commit: 5 shards wait (shards 6, 7, 8 and 2 more)"},
		{"sink", "deliver to stdout: x", "shard", []string{"1"},
			"A sink does not take events: 1 shard waits (shard 1): deliver to stdout: x"},
		{"halted", "halted: x", "shard", []string{"1"},
			"A bad position waits for a decision: 1 shard waits (shard 1): halted: x"},
		{"stalled", nothingRead, "shard", []string{"1"},
			"Nothing was read for some seconds, and it is not known yet why: 1 shard waits (shard 1)"},
		{"not-read", "no process reads it", "shard", []string{"1", "2"},
			"No process reads some of the stream (shards 1, 2)"},
		{"foreign-leader", "read by Zuul (Python)", "shard", []string{"1"},
			"Zuul's own listener reads 1 shard: it may lose or repeat events (shard 1)"},
		{"process-gone", "gone", "process", []string{"a-1-x"}, "1 process is gone; others read what it read (a-1-x)"},
		{"process-gone", "gone", "process", []string{"a-1-x", "b-1-x"},
			"2 processes are gone; others read what they read (a-1-x, b-1-x)"},
		{"configured-differently", "configured differently", "process", []string{"b-1-x"},
			"Configured differently from the others (b-1-x)"},
		{"", "something nobody\nforesaw", "process", []string{"b-1-x"}, "Something nobody foresaw (b-1-x)"},
	} {
		var all []found
		for _, of := range tt.of {
			all = append(all, found{fault{Trouble, trouble.Kind(tt.k), tt.text}, of})
		}
		got := group(all, tt.thing)
		if len(got) != 1 || got[0].Line() != tt.want {
			t.Errorf("got  %+v\nwant %s", got, tt.want)
		}
	}
}
