package kinesistest

import (
	"crypto/md5" //nolint:gosec // the format has it
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// UserRecord is a record inside an aggregate.
type UserRecord struct {
	PartitionKey    string
	ExplicitHashKey string // empty: none
	Data            []byte
}

// Aggregate packs records into one as the Kinesis Producer Library does: four
// magic bytes, a protobuf message with tables of the keys, and its MD5.
func Aggregate(records ...UserRecord) []byte {
	var keys, hashKeys keyTable
	var list []byte
	for _, r := range records {
		var m []byte
		m = protowire.AppendTag(m, 1, protowire.VarintType)
		m = protowire.AppendVarint(m, keys.index(r.PartitionKey))
		if r.ExplicitHashKey != "" {
			m = protowire.AppendTag(m, 2, protowire.VarintType)
			m = protowire.AppendVarint(m, hashKeys.index(r.ExplicitHashKey))
		}
		m = protowire.AppendTag(m, 3, protowire.BytesType)
		m = protowire.AppendBytes(m, r.Data)
		list = protowire.AppendTag(list, 3, protowire.BytesType)
		list = protowire.AppendBytes(list, m)
	}
	message := append(hashKeys.append(keys.append(nil, 1), 2), list...)
	sum := md5.Sum(message) //nolint:gosec // see above
	out := append([]byte{0xF3, 0x89, 0x9A, 0xC2}, message...)
	return append(out, sum[:]...)
}

// keyTable numbers keys in the order of their first use.
type keyTable struct{ keys []string }

func (t *keyTable) index(key string) uint64 {
	i := slices.Index(t.keys, key)
	if i < 0 {
		i = len(t.keys)
		t.keys = append(t.keys, key)
	}
	return uint64(i) //nolint:gosec // not negative
}

func (t *keyTable) append(buf []byte, field protowire.Number) []byte {
	for _, k := range t.keys {
		buf = protowire.AppendTag(buf, field, protowire.BytesType)
		buf = protowire.AppendString(buf, k)
	}
	return buf
}
