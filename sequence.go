package gerritstream

import (
	"cmp"
	"fmt"
	"strings"
)

// ShardID names a shard within its stream: "shardId-000000000000". Ids start
// again when a stream is deleted and made anew, which is why nothing is stored
// under a shard id alone.
type ShardID string

// SequenceNumber is a record's place within its shard: a decimal integer of up
// to 128 digits, without leading zeros. Numbers of different shards say nothing
// about each other. The empty value is "none".
type SequenceNumber string

// maxSequenceDigits bounds what is accepted as a sequence number. Kinesis' own
// have 56 digits.
const maxSequenceDigits = 128

// ParseSequenceNumber checks that s is a sequence number and returns it. Zero
// is one ("0"); "" is not.
func ParseSequenceNumber(s string) (SequenceNumber, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("parse sequence number: it is empty")
	case len(s) > maxSequenceDigits:
		return "", fmt.Errorf("parse sequence number: it has %d digits, more than %d", len(s), maxSequenceDigits)
	case strings.Trim(s, "0123456789") != "":
		return "", fmt.Errorf("parse sequence number %q: it is not a decimal integer", s)
	case len(s) > 1 && s[0] == '0':
		return "", fmt.Errorf("parse sequence number %q: it has leading zeros", s)
	}
	return SequenceNumber(s), nil
}

// Compare orders sequence numbers of one shard as the integers they are: by
// length, then by digits. The empty value comes before all others.
func (n SequenceNumber) Compare(m SequenceNumber) int {
	if c := cmp.Compare(len(n), len(m)); c != 0 {
		return c
	}
	return strings.Compare(string(n), string(m))
}
