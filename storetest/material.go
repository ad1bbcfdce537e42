package storetest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// stream is the stream of the suite's records.
var stream = gerritstream.Stream{
	ARN:     "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit",
	Created: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
}

// arrival is when record n arrived.
func arrival(n int) time.Time {
	return stream.Created.Add(time.Hour + time.Duration(n)*time.Millisecond)
}

// sequence is the sequence number of record n, as long as those of Kinesis.
func sequence(n int) gerritstream.SequenceNumber {
	return gerritstream.SequenceNumber(fmt.Sprintf("49590338271490256608559692538361571095921575989136%06d", n))
}

// after is the position after record n.
func after(n int) gerritstream.Position {
	return gerritstream.Position{After: sequence(n), Arrived: arrival(n)}
}

// endedAfter is the position of a shard that ended with record n.
func endedAfter(n int) gerritstream.Position {
	pos := after(n)
	pos.Ended = true
	return pos
}

// event is record n of a shard as an entry. Its payload is JSON that no encoder
// would write.
func event(shard gerritstream.ShardID, n int) gerritstream.Entry {
	payload := `{ "type":"ref-updated",  "n":` + strconv.Itoa(n) +
		`.0e0, "refUpdate":{"refName":"refs/heads/ma\u0069n","project":"plugins/events"}}`
	return eventWith(shard, n, []byte(payload))
}

func eventWith(shard gerritstream.ShardID, n int, payload []byte) gerritstream.Entry {
	return gerritstream.Entry{
		ID:      gerritstream.NewEventID(stream, shard, sequence(n), gerritstream.NoSub),
		Shard:   shard,
		Seq:     sequence(n),
		Sub:     gerritstream.NoSub,
		Arrived: arrival(n),
		Event: gerritstream.Event{
			Type: "ref-updated", Project: "plugins/events", Ref: "refs/heads/main", Change: 4711,
			Created: arrival(n).Truncate(time.Second),
		},
		Payload: payload,
	}
}

// events are the records from first to last of a shard as entries.
func events(shard gerritstream.ShardID, first, last int) []gerritstream.Entry {
	var entries []gerritstream.Entry
	for n := first; n <= last; n++ {
		entries = append(entries, event(shard, n))
	}
	return entries
}

// deadLetter is record n of a shard as a dead letter, with every byte value.
func deadLetter(shard gerritstream.ShardID, n int) gerritstream.DeadLetter {
	payload := make([]byte, 0, 300)
	for b := range 256 {
		payload = append(payload, byte(b))
	}
	return deadLetterWith(shard, n, strconv.AppendInt(payload, int64(n), 10))
}

func deadLetterWith(shard gerritstream.ShardID, n int, payload []byte) gerritstream.DeadLetter {
	d := gerritstream.DeadLetter{
		ID:      gerritstream.NewEventID(stream, shard, sequence(n), gerritstream.NoSub),
		Shard:   shard,
		Seq:     sequence(n),
		Sub:     gerritstream.NoSub,
		Arrived: arrival(n),
		Reason:  "utf8",
		Detail:  "byte 128 of the record begins no character",
	}
	storekit.SetPayload(&d, payload)
	return d
}

// step is the commit of the records from first to last of a shard as entries.
func step(shard gerritstream.ShardID, first, last int) gerritstream.Commit {
	return gerritstream.Commit{Position: after(last), Entries: events(shard, first, last)}
}
