package kinesistest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// PutRecord: the record goes to the shard of its hash key: ExplicitHashKey, or
// the MD5 of its partition key. SequenceNumberForOrdering changes nothing: a
// shard's sequence numbers grow anyway.

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

// checkSize refuses a record larger than the stream allows: data and partition
// key count.
func (e *putEntry) checkSize(c *checks, prefix string, most int) {
	if len(*e.Data)+len(*e.PartitionKey) > most {
		c.tooLong(prefix+"data", most)
	}
}

// hash is the key that the record is routed by.
func (e *putEntry) hash() (hashKey, *Fault) {
	if e.ExplicitHashKey == nil {
		return hashOf(*e.PartitionKey), nil
	}
	key, ok := parseHashKey(*e.ExplicitHashKey)
	if !ok {
		return key, invalid("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "+
			"Specified value was %s", *e.ExplicitHashKey)
	}
	return key, nil
}

func (e *putEntry) entry() entry {
	return entry{key: *e.PartitionKey, data: *e.Data}
}

type putRecordOutput struct {
	ShardId        string //nolint:revive,staticcheck // as in the reply
	SequenceNumber string
}

func (s *Server) putRecord(st *stream, in *putRecordInput, now time.Time) (any, *Fault) {
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
	if !s.opts.NoLimits && !sh.meters.allowWrite(now, e.size()) {
		return nil, s.rateExceeded(sh)
	}
	return putRecordOutput{sh.id, sh.put(e, now)}, nil
}

// PutRecords: up to 500 records and 10 MiB, each with its own result. A record
// that a shard's write limit refuses has an error code in its place; later ones
// are still stored.

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
		c.tooLong("records", maxPutRecords)
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

func (s *Server) putRecords(st *stream, in *putRecordsInput, now time.Time) (any, *Fault) {
	records := *in.Records
	keys, f := checkRecords(records, st.maxRecord)
	if f != nil {
		return nil, f
	}
	out := putRecordsOutput{Records: make([]putResult, len(records))}
	for i := range records {
		sh, e := st.shardFor(keys[i]), records[i].entry()
		if !s.opts.NoLimits && !sh.meters.allowWrite(now, e.size()) {
			limit := s.rateExceeded(sh)
			out.Records[i] = putResult{ErrorCode: limit.Code, ErrorMessage: limit.Message}
			out.FailedRecordCount++
			continue
		}
		out.Records[i] = putResult{ShardId: sh.id, SequenceNumber: sh.put(e, now)}
	}
	return out, nil
}

// checkRecords refuses records that are too large, each or together, and
// returns their hash keys.
func checkRecords(records []putEntry, maxRecord int) ([]hashKey, *Fault) {
	var c checks
	keys, total := make([]hashKey, len(records)), 0
	for i := range records {
		records[i].checkSize(&c, memberOf(i), maxRecord)
		total += len(*records[i].Data) + len(*records[i].PartitionKey)
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

// blob is the data of a record in a request.
type blob []byte

// UnmarshalJSON takes a JSON string of base64.
func (b *blob) UnmarshalJSON(raw []byte) error {
	var text []byte
	if n := len(raw); n >= 2 && raw[0] == '"' && !bytes.ContainsAny(raw, "\\\n\r") {
		text = raw[1 : n-1]
	} else {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		text = []byte(s)
	}
	data, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("decode base64: %w", err)
	}
	*b = data
	return nil
}

// entry is a record about to be stored.
type entry struct {
	key  string
	data []byte
}

// size is what the record counts for in every limit in bytes.
func (e *entry) size() int { return len(e.data) + len(e.key) }

// render returns the record as GetRecords shows it in CBOR.
func (e *entry) render(seq string, ms int64) []byte {
	buf := make([]byte, 0, len(e.data)+len(e.key)+len(seq)+90)
	buf = append(buf, cborOpenMap)
	buf = appendText(appendText(buf, "SequenceNumber"), seq)
	buf = appendTime(appendText(buf, "ApproximateArrivalTimestamp"), ms)
	buf = appendText(appendText(buf, "PartitionKey"), e.key)
	buf = appendHead(appendText(buf, "Data"), 2, uint64(len(e.data)))
	return append(append(buf, e.data...), cborEnd)
}

// appendJSON appends the record as GetRecords shows it in JSON.
func (r *record) appendJSON(buf []byte) []byte {
	key, _ := json.Marshal(r.key) // a string can always be marshalled
	buf = append(buf, `{"SequenceNumber":"`...)
	buf = append(buf, r.seq...)
	buf = append(buf, `","ApproximateArrivalTimestamp":`...)
	buf = appendSeconds(buf, r.at.ms)
	buf = append(buf, `,"PartitionKey":`...)
	buf = append(buf, key...)
	buf = append(buf, `,"Data":"`...)
	buf = base64.StdEncoding.AppendEncode(buf, r.data())
	return append(buf, `"}`...)
}

// appendSeconds writes a time in ms as AWS JSON does: in seconds, with a
// fraction.
func appendSeconds(buf []byte, ms int64) []byte {
	buf = strconv.AppendInt(buf, ms/1000, 10)
	return fmt.Appendf(buf, ".%03d", ms%1000)
}
