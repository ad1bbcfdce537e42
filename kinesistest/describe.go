package kinesistest

import (
	"encoding/json"
	"time"
)

// What several operations say of streams and shards.

// seconds is a time as AWS JSON has it.
type seconds time.Time

// MarshalJSON writes seconds with three decimals.
func (t seconds) MarshalJSON() ([]byte, error) {
	return appendSeconds(nil, time.Time(t).UnixMilli()), nil
}

// streamFacts is what both descriptions of a stream hold.
type streamFacts struct {
	StreamName              string
	StreamARN               string
	StreamStatus            string
	StreamModeDetails       streamMode
	RetentionPeriodHours    int
	StreamCreationTimestamp seconds
	EnhancedMonitoring      json.RawMessage
	EncryptionType          string
}

func (st *stream) facts() streamFacts {
	return streamFacts{
		StreamName:              st.name,
		StreamARN:               st.arn,
		StreamStatus:            st.status(),
		StreamModeDetails:       streamMode{st.mode},
		RetentionPeriodHours:    int(st.retention / time.Hour),
		StreamCreationTimestamp: seconds(st.created),
		EnhancedMonitoring:      json.RawMessage(`[{"ShardLevelMetrics":[]}]`),
		EncryptionType:          "NONE",
	}
}

type hashKeyRange struct{ StartingHashKey, EndingHashKey string }

func (sh *shard) hashKeys() hashKeyRange { return hashKeyRange{sh.first.String(), sh.last.String()} }

// shardDescription is a shard as it is listed; an open one has no ending
// sequence number.
type shardDescription struct {
	ShardId               string `json:"ShardId"` //nolint:revive,staticcheck // as in the reply
	ParentShardId         string `json:"ParentShardId,omitempty"`
	AdjacentParentShardId string `json:"AdjacentParentShardId,omitempty"`
	HashKeyRange          hashKeyRange
	SequenceNumberRange   sequenceRange
}

type sequenceRange struct {
	StartingSequenceNumber string
	EndingSequenceNumber   string `json:",omitempty"`
}

func describeShards(shards []*shard) []shardDescription {
	out := make([]shardDescription, 0, len(shards))
	for _, sh := range shards {
		d := shardDescription{
			ShardId:             sh.id,
			HashKeyRange:        sh.hashKeys(),
			SequenceNumberRange: sequenceRange{StartingSequenceNumber: sh.startingSequence()},
		}
		if len(sh.parents) > 0 {
			d.ParentShardId = sh.parents[0]
		}
		if len(sh.parents) > 1 {
			d.AdjacentParentShardId = sh.parents[1]
		}
		if sh.closed {
			d.SequenceNumberRange.EndingSequenceNumber = sh.endingSequence()
		}
		out = append(out, d)
	}
	return out
}
