package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
)

var (
	asQueued   = fate{verdict: gerrittest.Queued, kind: "change-merged"}
	asFiltered = fate{verdict: gerrittest.Filtered, why: "meta-ref", kind: "ref-updated"}
	asDead     = fate{verdict: gerrittest.DeadLetter, why: "utf8"}
)

func at(shard gerritstream.ShardID, seq gerritstream.SequenceNumber) place {
	return place{shard, seq, gerritstream.NoSub}
}

// TestCompare shows that each kind of trouble is found, and counted as what it
// is.
func TestCompare(t *testing.T) {
	acked := []published{
		{at("a", "1"), asQueued}, {at("b", "1"), asQueued}, {at("a", "2"), asFiltered}, {at("b", "2"), asDead},
	}
	sound := func() findings {
		return findings{
			at("a", "1"): {asQueued}, at("b", "1"): {asQueued}, at("a", "2"): {asFiltered}, at("b", "2"): {asDead},
		}
	}
	tests := []struct {
		name  string
		spoil func(findings)
		want  comparison
	}{
		{"nothing", func(findings) {}, comparison{}},
		{"a row is missing", func(f findings) { delete(f, at("a", "1")) }, comparison{lost: 1}},
		{"a dead letter is missing", func(f findings) { delete(f, at("b", "2")) }, comparison{lost: 1}},
		{"a filtered record was never passed", func(f findings) { delete(f, at("a", "2")) }, comparison{lost: 1}},
		{"two rows of a record", func(f findings) { f.add(at("b", "1"), asQueued) }, comparison{duplicated: 1}},
		{"a row and a dead letter of a record", func(f findings) { f.add(at("b", "2"), asQueued) }, comparison{duplicated: 1}},
		{"a filtered record has a row", func(f findings) { f.add(at("a", "2"), asQueued) }, comparison{duplicated: 1}},
		{"the wrong verdict", func(f findings) { f[at("a", "1")] = []fate{asFiltered} }, comparison{misjudged: 1}},
		{"the wrong reason", func(f findings) {
			f[at("b", "2")] = []fate{{verdict: gerrittest.DeadLetter, why: "json"}}
		}, comparison{misjudged: 1}},
		{"the wrong type", func(f findings) {
			f[at("b", "1")] = []fate{{verdict: gerrittest.Queued, kind: "ref-updated"}}
		}, comparison{misjudged: 1}},
		{"a row of the same number in another shard", func(f findings) { f.add(at("c", "1"), asQueued) }, comparison{unexpected: 1}},
		{"a row of a part of a record", func(f findings) { f.add(place{"a", "1", 0}, asQueued) }, comparison{unexpected: 1}},
		{"all at once", func(f findings) {
			delete(f, at("a", "1"))
			f[at("b", "1")] = []fate{asDead}
			f.add(at("a", "2"), asFiltered)
			f.add(at("a", "3"), asQueued)
		}, comparison{lost: 1, duplicated: 1, misjudged: 1, unexpected: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := sound()
			tt.spoil(found)
			got := compare(acked, found)
			if examples := got.lost + got.duplicated + got.misjudged + got.unexpected; len(got.examples) != examples {
				t.Errorf("%d examples of %d: %q", len(got.examples), examples, got.examples)
			}
			err := got.err()
			var check *checkError
			if fine := tt.name == "nothing"; got.fine() != fine || (err == nil) != fine || errors.As(err, &check) == fine {
				t.Errorf("fine: %t, error %v", got.fine(), err)
			}
			got.examples = nil
			if got.lost != tt.want.lost || got.duplicated != tt.want.duplicated || got.misjudged != tt.want.misjudged ||
				got.unexpected != tt.want.unexpected {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestCompareNamesAFew(t *testing.T) {
	var acked []published
	for _, seq := range strings.Split("123456789", "") {
		acked = append(acked, published{at("a", gerritstream.SequenceNumber(seq)), asQueued})
	}
	if c := compare(acked, findings{}); c.lost != 9 || len(c.examples) != maxExamples {
		t.Errorf("%d lost, %d examples", c.lost, len(c.examples))
	}
	if c := compare(append(acked[:1:1], acked[0]), findings{at("a", "1"): {asQueued}}); c.fine() {
		t.Error("two records at one place are fine")
	}
}

// TestBadRecordsStayBelowWhatAStoreKeeps: of more than 1,000 dead letters a
// store would keep only the count, and the comparison would take them for lost.
func TestBadRecordsStayBelowWhatAStoreKeeps(t *testing.T) {
	for events := 1; events <= maxDemoEvents; events += 1 + events/3 {
		if bad := gerrittest.BadKinds() + events/badEvery(events); bad > maxBad+gerrittest.BadKinds() {
			t.Errorf("%d bad records among %d", bad, events)
		}
	}
	bad, letters := 0, gerrittest.New(demoSeed, gerrittest.Options{BadEvery: 20})
	for range 20_000 {
		if letters.Next().Want == gerrittest.DeadLetter {
			bad++
		}
	}
	if bad < 800 || bad > 1200 {
		t.Errorf("%d bad records, where one of 20 was asked for", bad)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 20000: "20,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
}
