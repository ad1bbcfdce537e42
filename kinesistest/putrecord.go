package kinesistest

import (
	"fmt"
	"time"
)

// PutRecord: the record goes to the shard that its hash key belongs to:
// ExplicitHashKey, or the MD5 of its partition key. SequenceNumberForOrdering
// is taken and changes nothing: sequence numbers of a shard grow anyway.

type putRecordInput struct {
	streamRef
	putEntry
	SequenceNumberForOrdering *string
}

// putEntry is a record in a request.
type putEntry struct {
	Data            *blob
	PartitionKey    *string
	ExplicitHashKey *string
}

func (in *putRecordInput) check(c *checks) {
	c.stream(&in.streamRef)
	in.checkEntry(c, "")
	c.sequenceNumber(in.SequenceNumberForOrdering, "sequenceNumberForOrdering")
}

func (e *putEntry) checkEntry(c *checks, prefix string) {
	if e.Data == nil {
		c.add("null", prefix+"data", "not be null")
	}
	c.text(e.PartitionKey, text{member: prefix + "partitionKey", required: true, most: 256})
	c.hashKey(e.ExplicitHashKey, prefix+"explicitHashKey", false)
}

// checkSize refuses a record larger than the stream takes: data and partition
// key count.
func (e *putEntry) checkSize(c *checks, prefix string, most int) {
	if e.Data.length+len(*e.PartitionKey) > most {
		c.found = append(c.found, fmt.Sprintf(
			"Value at '%sdata' failed to satisfy constraint: Member must have length less than or equal to %d", prefix, most))
	}
}

// hash is the key that the record is routed by.
func (e *putEntry) hash() (hashKey, *Fault) {
	if e.ExplicitHashKey == nil {
		return hashOf(*e.PartitionKey), nil
	}
	key, ok := parseHashKey(*e.ExplicitHashKey)
	if !ok {
		return key, invalid("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was %s",
			*e.ExplicitHashKey)
	}
	return key, nil
}

func (e *putEntry) entry() entry {
	return entry{key: *e.PartitionKey, data: e.Data.text, length: e.Data.length}
}

type putRecordOutput struct {
	ShardId        string //nolint:revive,staticcheck // as in the reply
	SequenceNumber string
}

func (s *Server) putRecord(in *putRecordInput, now time.Time) (any, *Fault) {
	st, f := s.serving(in.ref())
	if f != nil {
		return nil, f
	}
	var c checks
	in.checkSize(&c, "", st.maxRecord)
	if f := c.fault(); f != nil {
		return nil, f
	}
	key, f := in.hash()
	if f != nil {
		return nil, f
	}
	sh, e := st.shardFor(key), in.entry()
	if !s.opts.NoLimits && !sh.allowWrite(now, e.size()) {
		return nil, s.rateExceeded(sh)
	}
	return putRecordOutput{sh.id, sh.put(e, now)}, nil
}
