package kinesistest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// entry is a record on its way in. Its data stays as it came, in base64, which
// is also how it goes out.
type entry struct {
	key    string
	data   []byte // canonical base64
	length int    // of the data itself
}

func newEntry(key string, data []byte) entry {
	return entry{key: key, data: base64.StdEncoding.AppendEncode(nil, data), length: len(data)}
}

// size is what the record counts for in every limit in bytes.
func (e *entry) size() int { return e.length + len(e.key) }

// render is the record as GetRecords shows it.
func (e *entry) render(seq string, ms int64) []byte {
	key, _ := json.Marshal(e.key) // a string always can be
	buf := make([]byte, 0, len(e.data)+len(key)+len(seq)+110)
	buf = append(buf, `{"SequenceNumber":"`...)
	buf = append(buf, seq...)
	buf = append(buf, `","ApproximateArrivalTimestamp":`...)
	buf = appendSeconds(buf, ms)
	buf = append(buf, `,"PartitionKey":`...)
	buf = append(buf, key...)
	buf = append(buf, `,"Data":"`...)
	buf = append(buf, e.data...)
	return append(buf, `"}`...)
}

// appendSeconds writes a time in ms the way AWS JSON has it: seconds, with a
// fraction.
func appendSeconds(buf []byte, ms int64) []byte {
	buf = strconv.AppendInt(buf, ms/1000, 10)
	return fmt.Appendf(buf, ".%03d", ms%1000)
}

// Record is a stored record.
type Record struct {
	Shard          string
	SequenceNumber string
	PartitionKey   string
	Arrived        time.Time // to the millisecond
	Data           []byte
}

// record returns what the rendered form holds.
func (r *record) decode(shard string) (Record, error) {
	var out struct {
		SequenceNumber, PartitionKey string
		Data                         []byte
	}
	if err := json.Unmarshal(r.json, &out); err != nil {
		return Record{}, fmt.Errorf("decode stored record: %w", err)
	}
	return Record{
		Shard:          shard,
		SequenceNumber: out.SequenceNumber,
		PartitionKey:   out.PartitionKey,
		Arrived:        time.UnixMilli(r.ms).UTC(),
		Data:           out.Data,
	}, nil
}

// blob is the data of a record in a request: checked base64, kept as text.
type blob struct {
	text   []byte
	length int
}

// UnmarshalJSON takes a JSON string of base64.
func (b *blob) UnmarshalJSON(raw []byte) error {
	var text []byte
	if n := len(raw); n >= 2 && raw[0] == '"' && !hasEscape(raw) {
		text = append(text, raw[1:n-1]...)
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
	b.text, b.length = text, len(data)
	return nil
}

func hasEscape(raw []byte) bool {
	for _, c := range raw {
		if c == '\\' || c == '\n' || c == '\r' {
			return true
		}
	}
	return false
}
