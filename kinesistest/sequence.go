package kinesistest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// sequence is what a sequence number of ours says: which incarnation of the
// stream, when, the how manieth of the shard, which shard. As text it has 56
// digits, like AWS', and grows within a shard with (ms, n).
type sequence struct {
	stream int64 // creation time of the stream in ms
	ms     int64
	n      int64
	shard  int
}

const (
	sequencePrefix = "49" // AWS' own begin with it
	sequenceDigits = 56
	maxCount       = 9999999999999999
)

// sequencePattern is AWS' constraint on a sequence number in a request.
var sequencePattern = regexp.MustCompile(`^(0|([1-9]\d{0,128}))$`)

func (q sequence) String() string {
	return fmt.Sprintf("%s%013d%013d%016d%012d", sequencePrefix, q.stream, q.ms, q.n, q.shard)
}

// parseSequence reads a sequence number; ok is false when it is none of ours.
func parseSequence(s string) (q sequence, ok bool) {
	if len(s) != sequenceDigits || !strings.HasPrefix(s, sequencePrefix) {
		return sequence{}, false
	}
	field := func(from, to int) int64 {
		n, err := strconv.ParseInt(s[from:to], 10, 64)
		if err != nil {
			ok = false
		}
		return n
	}
	ok = true
	q = sequence{stream: field(2, 15), ms: field(15, 28), n: field(28, 44), shard: int(field(44, 56))}
	return q, ok
}

func shardID(index int) string { return fmt.Sprintf("shardId-%012d", index) }
