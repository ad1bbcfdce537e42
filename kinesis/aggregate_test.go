package kinesis

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// unpackAll returns the records of an aggregate; nil if it is none or invalid.
func unpackAll(data []byte) (all []string) {
	for _, pair := range unpackPairs(data) {
		_, record, _ := strings.Cut(pair, "=")
		all = append(all, record)
	}
	return all
}

// unpackPairs returns the records of an aggregate as key=data, unpacked as for
// a page; it removes "=" from keys.
func unpackPairs(data []byte) (all []string) {
	n := countAggregate(data)
	if n <= 0 {
		return nil
	}
	message := aggregateMessage(data)
	var keys keyTable
	keys.fill(keysField, message)
	for {
		record, rest, _ := nextRecord(message)
		if record == nil {
			return all
		}
		data, _ := recordData(record)
		all, message = append(all, strings.ReplaceAll(string(keys.of(record)), "=", "")+"="+string(data)), rest
	}
}

// seal makes an aggregate of any message.
func seal(message []byte) []byte {
	sum := md5.Sum(message)
	return append(append(bytes.Clone(aggregateMagic), message...), sum[:]...)
}

func TestAggregateIsUnpacked(t *testing.T) {
	data := kinesistest.Aggregate(
		kinesistest.UserRecord{PartitionKey: "a", Data: []byte("one")},
		kinesistest.UserRecord{PartitionKey: "b", ExplicitHashKey: "7", Data: nil},
		kinesistest.UserRecord{PartitionKey: "a", Data: []byte("three")},
	)
	if got, want := fmt.Sprintf("%q", unpackPairs(data)), `["a=one" "b=" "a=three"]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRecordWithoutTheMagicIsPlain(t *testing.T) {
	for _, data := range []string{"", "{}", "\xF3\x89\x9A", "x\xF3\x89\x9A\xC2"} {
		if n := countAggregate([]byte(data)); n != plain {
			t.Errorf("%q: got %d", data, n)
		}
	}
}

func TestInvalidAggregateIsBad(t *testing.T) {
	good := kinesistest.Aggregate(kinesistest.UserRecord{PartitionKey: "a", Data: []byte("one")})
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	changed := bytes.Clone(good)
	changed[6] ^= 1
	dataless := protowire.AppendBytes(protowire.AppendTag(nil, recordsField, protowire.BytesType), []byte{0x08, 0x00})
	varint := protowire.AppendVarint(protowire.AppendTag(nil, recordsField, protowire.VarintType), 1)
	claims := protowire.AppendVarint(protowire.AppendTag(nil, recordsField, protowire.BytesType), 1_000_000)
	for name, c := range map[string]struct {
		data []byte
		want int
	}{
		"magic alone": {aggregateMagic, tooShort}, "cut": {good[:len(good)-1], badChecksum},
		"checksum": {flipped, badChecksum},
		"message":  {changed, badChecksum}, "empty": {seal(nil), noRecords},
		"only keys": {
			seal(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "k")), noRecords},
		"a record without data":     {seal(dataless), noData},
		"a record that is a number": {seal(varint), badMessage},
		"a length beyond the end":   {seal(claims), badMessage}, "a broken tag": {seal([]byte{0xff}), badMessage},
	} {
		if n := countAggregate(c.data); n != c.want || aggregateFaults[n] == "" {
			t.Errorf("%s: got %d, want %d", name, n, c.want)
		}
	}
}

// FuzzAggregate: for any bytes, counting agrees with unpacking, and neither
// reads past the end.
func FuzzAggregate(f *testing.F) {
	f.Add([]byte{}, true)
	good := kinesistest.Aggregate(
		kinesistest.UserRecord{PartitionKey: "a", Data: []byte("one")}, kinesistest.UserRecord{PartitionKey: "b"})
	f.Add(aggregateMessage(good), true)
	f.Add(good, false)
	f.Add([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f}, true)
	f.Add([]byte{0x1a, 0x02, 0x1a, 0x00, 0x0b, 0x0c}, true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed {
			data = seal(data)
		}
		n := countAggregate(data)
		all := unpackAll(data)
		if max(n, 0) != len(all) {
			t.Fatalf("counted %d, unpacked %d", n, len(all))
		}
		size := 0
		for _, record := range all {
			size += len(record) + 2
		}
		if size > len(data) {
			t.Fatalf("unpacked %d bytes of %d", size, len(data))
		}
	})
}

// TestKeysOfAnAggregate: an index past the table, a table after the records,
// and a table of too many keys.
func TestKeysOfAnAggregate(t *testing.T) {
	key := func(k string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, keysField, protowire.BytesType), k)
	}
	record := func(index uint64) []byte {
		r := protowire.AppendVarint(protowire.AppendTag(nil, keysField, protowire.VarintType), index)
		r = protowire.AppendString(protowire.AppendTag(r, dataField, protowire.BytesType), "d")
		return protowire.AppendBytes(protowire.AppendTag(nil, recordsField, protowire.BytesType), r)
	}
	if got, want := fmt.Sprint(
		unpackPairs(seal(slices.Concat(key("a"), record(0), record(1), record(1<<63), key("b"))))),
		"[a=d =d =d]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var message []byte
	for i := range maxKeys + 5 {
		message = append(message, key(fmt.Sprint(i))...)
	}
	message = slices.Concat(message, record(maxKeys-1), record(maxKeys))
	if got, want := fmt.Sprint(unpackPairs(seal(message))), fmt.Sprintf("[%d=d =d]", maxKeys-1); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCountingAnAggregateAllocatesNothing(t *testing.T) {
	data := kinesistest.Aggregate(make([]kinesistest.UserRecord, 1000)...)
	if allocs := testing.AllocsPerRun(10, func() { countAggregate(data) }); allocs != 0 {
		t.Errorf("got %v allocations", allocs)
	}
}
