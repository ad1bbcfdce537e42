package kinesistest

import (
	"fmt"
	"time"
)

// PutRecords: up to 500 records and 10 MiB, each with its own result: those
// that a shard's write limit refuses are reported by an error code in their
// place, and do not keep later ones from being stored.

type putRecordsInput struct {
	streamRef
	Records *[]putEntry
}

func (in *putRecordsInput) check(c *checks) {
	c.stream(&in.streamRef)
	if in.Records == nil {
		c.add("null", "records", "not be null")
		return
	}
	records := *in.Records
	if len(records) == 0 {
		c.add("'[]'", "records", "have length greater than or equal to 1")
	}
	if len(records) > maxPutRecords {
		c.found = append(c.found, fmt.Sprintf(
			"Value at 'records' failed to satisfy constraint: Member must have length less than or equal to %d", maxPutRecords))
		return
	}
	for i := range records {
		records[i].checkEntry(c, memberOf(i))
	}
}

func memberOf(i int) string { return fmt.Sprintf("records.%d.member.", i+1) }

type putRecordsOutput struct {
	FailedRecordCount int
	Records           []putResult
}

type putResult struct {
	ShardId        string `json:",omitempty"` //nolint:revive,staticcheck // as in the reply
	SequenceNumber string `json:",omitempty"`
	ErrorCode      string `json:",omitempty"`
	ErrorMessage   string `json:",omitempty"`
}

func (s *Server) putRecords(in *putRecordsInput, now time.Time) (any, *Fault) {
	st, f := s.serving(in.ref())
	if f != nil {
		return nil, f
	}
	records := *in.Records
	keys, f := checkBatch(records, st.maxRecord)
	if f != nil {
		return nil, f
	}
	out := putRecordsOutput{Records: make([]putResult, len(records))}
	for i := range records {
		sh, e := st.shardFor(keys[i]), records[i].entry()
		if !s.opts.NoLimits && !sh.allowWrite(now, e.size()) {
			limit := s.rateExceeded(sh)
			out.Records[i] = putResult{ErrorCode: limit.Code, ErrorMessage: limit.Message}
			out.FailedRecordCount++
			continue
		}
		out.Records[i] = putResult{ShardId: sh.id, SequenceNumber: sh.put(e, now)}
	}
	return out, nil
}

// checkBatch refuses a batch that is too large, or one of whose records is, and
// returns the hash keys.
func checkBatch(records []putEntry, maxRecord int) ([]hashKey, *Fault) {
	var c checks
	keys, total := make([]hashKey, len(records)), 0
	for i := range records {
		records[i].checkSize(&c, memberOf(i), maxRecord)
		total += records[i].Data.length + len(*records[i].PartitionKey)
		key, f := records[i].hash()
		if f != nil {
			return nil, f
		}
		keys[i] = key
	}
	if f := c.fault(); f != nil {
		return nil, f
	}
	if total > maxPutBytes {
		return nil, invalid("Records size exceeds %d MB limit", maxPutBytes>>20)
	}
	return keys, nil
}
