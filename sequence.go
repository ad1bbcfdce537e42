package gerritstream

import (
	"cmp"
	"fmt"
	"strings"
)

// ShardID names a shard within its stream, as "shardId-000000000000" does. A
// recreated stream uses the same IDs again, which is why nothing is stored
// under a shard ID alone.
type ShardID string

// SequenceNumber is a record's place within its shard: a decimal integer of up
// to 128 digits, without leading zeros. Numbers of different shards cannot be
// compared. The empty value is "none".
type SequenceNumber string

const maxSequenceDigits = 128 // Kinesis' own numbers have 56

// ParseSequenceNumber checks that s is a sequence number and returns it. Zero
// is one ("0"); "" is not.
func ParseSequenceNumber(s string) (SequenceNumber, error) {
	switch {
	case len(s) > maxSequenceDigits:
		return "", fmt.Errorf("parse sequence number: it has %d digits, more than %d", len(s), maxSequenceDigits)
	case s == "" || strings.Trim(s, "0123456789") != "":
		return "", fmt.Errorf("parse sequence number %q: it is not a decimal integer", s)
	case len(s) > 1 && s[0] == '0':
		return "", fmt.Errorf("parse sequence number %q: it has leading zeros", s)
	}
	return SequenceNumber(s), nil
}

// Compare orders sequence numbers of one shard as integers: by length, then by
// digits. The empty value comes first.
func (n SequenceNumber) Compare(m SequenceNumber) int {
	return cmp.Or(cmp.Compare(len(n), len(m)), strings.Compare(string(n), string(m)))
}
