package kinesistest_test

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the format has it
	"encoding/hex"
	"testing"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// The expected bytes follow the format by hand: tables of keys in fields 1 and
// 2, records in field 3.
func TestAggregate(t *testing.T) {
	got := kinesistest.Aggregate(
		kinesistest.UserRecord{PartitionKey: "a", Data: []byte("x")},
		kinesistest.UserRecord{PartitionKey: "b", ExplicitHashKey: "7", Data: []byte("yz")},
		kinesistest.UserRecord{PartitionKey: "a", ExplicitHashKey: "7"},
	)
	message, err := hex.DecodeString("" +
		"0a0161" + "0a0162" + // partition keys "a", "b"
		"120137" + // explicit hash key "7"
		"1a05" + "0800" + "1a0178" +
		"1a08" + "0801" + "1000" + "1a02797a" +
		"1a06" + "0800" + "1000" + "1a00")
	if err != nil {
		t.Fatal(err)
	}
	sum := md5.Sum(message) //nolint:gosec // see above
	want := bytes.Join([][]byte{{0xF3, 0x89, 0x9A, 0xC2}, message, sum[:]}, nil)
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}
