package kinesis

import (
	"crypto/md5"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

func marking(c *Config) { c.MarkForeign = true }

// Records within aggregates whose hash key belongs to another shard are marked
// if the Config asks for it, decided as by the KCL: by the explicit hash key,
// or else by the partition key. Records without a valid key and plain records
// are not marked.
func TestForeignRecordsAreMarked(t *testing.T) {
	half := new(big.Int).Lsh(big.NewInt(1), 127) // where the second of two shards begins
	before := new(big.Int).Sub(half, big.NewInt(1))
	byKey := map[bool]string{} // partition keys of the first shard, and of the second
	for i := 0; len(byKey) < 2; i++ {
		key := fmt.Sprint("key", i)
		sum := md5.Sum([]byte(key))
		byKey[sum[0] < 0x80] = key
	}
	records := []kinesistest.UserRecord{
		{PartitionKey: byKey[true], Data: []byte("own key")},
		{PartitionKey: byKey[false], Data: []byte("foreign key")},
		{PartitionKey: byKey[false], ExplicitHashKey: before.String(), Data: []byte("own hash")},
		{PartitionKey: byKey[true], ExplicitHashKey: half.String(), Data: []byte("foreign hash")},
		{PartitionKey: byKey[true], ExplicitHashKey: "0", Data: []byte("first hash")},
		{PartitionKey: byKey[false], ExplicitHashKey: "x", Data: []byte("no hash")},
		{PartitionKey: byKey[false], ExplicitHashKey: strings.Repeat("9", 40), Data: []byte("too large a hash")},
	}
	foreign := []string{"foreign key", "foreign hash"}
	for _, marked := range []bool{true, false} {
		change := marking
		if !marked {
			change = nil
		}
		inBubble(t, kinesistest.Options{}, 2, change, func(t *testing.T, w *world) {
			if _, err := w.srv.PutTo("gerrit", string(shard0), byKey[false], []byte("plain")); err != nil {
				t.Fatal(err)
			}
			w.put(string(kinesistest.Aggregate(records...)))
			var found []string
			all := 0
			for _, p := range w.read(trimHorizon(), atTip) {
				for _, r := range p.Records {
					if all++; r.Foreign {
						found = append(found, string(r.Data))
					}
				}
			}
			want := foreign
			if !marked {
				want = nil
			}
			if !slices.Equal(found, want) || all != len(records)+1 {
				t.Errorf("marking %v: of %d records %q are marked, want %q", marked, all, found, want)
			}
			listings := 0
			if marked {
				listings = 1
			}
			if n := len(w.sent("ListShards")); n != listings {
				t.Errorf("marking %v: %d listings", marked, n)
			}
		})
	}
}

// What the KPL stores again after a split: the old shard's aggregate lies in
// one child with the records of both children, and the records of the other
// child lie in that one as well. Each is marked everywhere but in one place. A
// listing that was made before is used.
func TestRecordsStoredAgainAfterASplitAreMarkedOnce(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, marking, func(t *testing.T, w *world) {
		left, right, err := w.srv.Split("gerrit", string(shard0))
		if err != nil {
			t.Fatal(err)
		}
		listing, err := w.src.List(t.Context())
		if err != nil || len(listing.Shards) != 3 {
			t.Fatalf("got %+v, %v", listing, err)
		}
		var records []kinesistest.UserRecord
		for i := range 100 {
			records = append(records, kinesistest.UserRecord{PartitionKey: fmt.Sprint(i), Data: fmt.Append(nil, i)})
		}
		own := map[string]int{}
		for _, shard := range []string{left, right} {
			if _, err := w.srv.PutTo("gerrit", shard, "k", kinesistest.Aggregate(records...)); err != nil {
				t.Fatal(err)
			}
			for page, err := range w.src.Read(t.Context(), gerritstream.ShardID(shard), trimHorizon()) {
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range page.Records {
					if !r.Foreign {
						own[string(r.Data)]++
					}
				}
				page.Done()
				break
			}
		}
		for i := range records {
			if n := own[fmt.Sprint(i)]; n != 1 {
				t.Errorf("record %d is a shard's own %d times", i, n)
			}
		}
		if n := len(w.sent("ListShards")); n != 1 {
			t.Errorf("%d listings were made", n)
		}
	})
}

// Without the shard's range nothing is read: trouble with the listing is
// reported.
func TestRangeThatCannotBeListedIsTrouble(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, marking, func(t *testing.T, w *world) {
		w.put("a")
		w.fail("ListShards", 6, "InternalFailure", "", 500)
		pairs := w.read(trimHorizon(), atTip)
		wantData(t, pairs, "a")
		wantRetrying(t, errorsOf(pairs), 2)
		w.wantFree()
	})
}

func TestHashKeysAreReadAsNumbersOf128Bits(t *testing.T) {
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	check := func(n *big.Int) {
		got, ok := parseHashKey(n.String())
		fits := n.Cmp(limit) < 0
		back := new(big.Int).SetUint64(got.high)
		back.Lsh(back, 64).Add(back, new(big.Int).SetUint64(got.low))
		if ok != fits || ok && back.Cmp(n) != 0 {
			t.Errorf("%s: got %s, %v", n, back, ok)
		}
	}
	for _, near := range []uint{0, 1, 63, 64, 65, 127, 128, 129, 200} {
		for delta := int64(-2); delta <= 2; delta++ {
			if n := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), near), big.NewInt(delta)); n.Sign() >= 0 {
				check(n)
			}
		}
	}
	for range 10_000 {
		n := new(big.Int).SetUint64(rand.Uint64())
		check(n.Lsh(n, uint(rand.IntN(70))).Add(n, new(big.Int).SetUint64(rand.Uint64())))
	}
	for _, text := range []string{"", "-1", "+1", "1 ", "0x1", "١"} {
		if _, ok := parseHashKey(text); ok {
			t.Errorf("%q is taken", text)
		}
	}
}

// An invalid range does not prevent reading: no record is foreign to it. moto
// lists the last shard's end as 2^128.
func TestRangeOfAShard(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, in := range []*types.HashKeyRange{
		nil, {}, {StartingHashKey: text("1")}, {StartingHashKey: text("x"), EndingHashKey: text("1")},
		{StartingHashKey: text("0"), EndingHashKey: text("340282366920938463463374607431768211456")},
	} {
		if got := convertRange(in); got != allKeys {
			t.Errorf("%+v: got %+v", in, got)
		}
	}
	if got, ok := new(ranges).of(shard0); ok || got != allKeys {
		t.Errorf("of a shard that is not listed: got %+v, %v", got, ok)
	}
	got := convertRange(&types.HashKeyRange{StartingHashKey: text("1"), EndingHashKey: text("18446744073709551616")})
	if got != (hashRange{hashKey{0, 1}, hashKey{1, 0}}) {
		t.Errorf("got %+v", got)
	}
}
