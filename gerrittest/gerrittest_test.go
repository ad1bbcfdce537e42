package gerrittest_test

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/gerrittest"
)

func take(g *gerrittest.Generator, n int) []gerrittest.Record {
	records := make([]gerrittest.Record, n)
	for i := range records {
		records[i] = g.Next()
	}
	return records
}

// TestWant judges every record by the real scanner and filter: each must get
// its wanted verdict.
func TestWant(t *testing.T) {
	filter, err := gerrit.NewFilter(gerrit.FilterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(3) {
		for i, r := range take(gerrittest.New(seed, gerrittest.Options{InstanceID: "review-1", BadEvery: 20}), 4000) {
			want := gerrittest.Queued
			var why string
			e, err := gerrit.Scan(r.Data)
			var fault *gerrit.Fault
			if errors.As(err, &fault) {
				want, why = gerrittest.DeadLetter, string(fault.Reason)
			} else if why = filter.Rule(&e); why != "" {
				want = gerrittest.Filtered
			}
			if r.Want != want || r.Why != why {
				t.Fatalf("seed %d, record %d: comes with %q %q, gets %q %q: %.300s", seed, i, r.Want, r.Why, want, why,
					r.Data)
			}
			if want != gerrittest.DeadLetter && (string(e.Type) != r.Type || e.Created == 0) {
				t.Fatalf("type %q, created %d: %.300s", e.Type, e.Created, r.Data)
			}
		}
	}
}

// TestEveryKindComesEarly: every type, every bad kind and every reason is among
// the first records, whatever the seed.
func TestEveryKindComesEarly(t *testing.T) {
	for _, c := range []struct {
		within int // as asked for
		first  int // as promised
	}{{0, 2000}, {1, gerrittest.MinWithin}, {500, 500}, {5000, 5000}} {
		for seed := range uint64(4) {
			types, reasons, bad := map[string]bool{}, map[string]bool{}, 0
			for _, r := range take(gerrittest.New(seed, gerrittest.Options{Within: c.within}), c.first) {
				if r.Want == gerrittest.DeadLetter {
					reasons[r.Why] = true
					bad++
					continue
				}
				types[r.Type] = true
			}
			if want := gerrittest.Types(); len(types) != len(want) || !containsAll(types, want) {
				t.Errorf("within %d, seed %d: got %d types of %d", c.within, seed, len(types), len(want))
			}
			for _, reason := range gerrit.Reasons() {
				if !reasons[string(reason)] {
					t.Errorf("within %d, seed %d: nothing is bad for %q", c.within, seed, reason)
				}
			}
			if bad != gerrittest.BadKinds() {
				t.Errorf("within %d, seed %d: %d bad records, want one of each of %d kinds", c.within, seed, bad,
					gerrittest.BadKinds())
			}
		}
	}
}

func containsAll(set map[string]bool, list []string) bool {
	for _, s := range list {
		if !set[s] {
			return false
		}
	}
	return true
}

// TestProportionsAndSizes compares the traffic with that of a real server.
func TestProportionsAndSizes(t *testing.T) {
	const n = 30000
	sizes := map[string][]int{}
	dropped := 0
	for _, r := range take(gerrittest.New(7, gerrittest.Options{BadEvery: -1}), n) {
		if r.Want == gerrittest.DeadLetter {
			t.Fatal("a bad record, though none was asked for")
		}
		if r.Want == gerrittest.Filtered {
			dropped++
		}
		if len(r.Data)+len(r.Key) > 1<<20 {
			t.Errorf("a %s of %d bytes: Kinesis takes 1 MiB", r.Type, len(r.Data))
		}
		sizes[r.Type] = append(sizes[r.Type], len(r.Data))
	}
	share := float64(len(sizes["ref-updated"])) / n
	t.Logf("ref-updated %.3f, dropped %.3f", share, float64(dropped)/n)
	if share < 0.5 || share > 2.0/3 {
		t.Errorf("ref-updated make up %.3f, want half to two thirds", share)
	}
	for _, c := range []struct {
		name           string
		median, spread int
		least          int // of the largest
	}{
		{"ref-updated", 330, 60, 0},
		{"patchset-created", 1900, 500, 2000},
		{"comment-added", 2000, 600, 16 << 10},
		{"fetch-ref-replicated", 220, 40, 0},
		{"batch-ref-updated", 6000, 4000, 400 << 10},
	} {
		list := slices.Sorted(slices.Values(sizes[c.name]))
		median, largest := list[len(list)/2], list[len(list)-1]
		t.Logf("%s: %d, median %d, largest %d bytes", c.name, len(list), median, largest)
		if math.Abs(float64(median-c.median)) > float64(c.spread) || largest < c.least {
			t.Errorf("%s: median %d, want %d +-%d; largest %d, want at least %d", c.name, median, c.median, c.spread,
				largest, c.least)
		}
	}
}

func TestSameSeedSameRecords(t *testing.T) {
	a, b := take(gerrittest.New(3, gerrittest.Options{}), 3000), take(gerrittest.New(3, gerrittest.Options{}), 3000)
	same := func(x, y gerrittest.Record) bool {
		return x.Key == y.Key && string(x.Data) == string(y.Data) && x.Want == y.Want
	}
	if !slices.EqualFunc(a, b, same) {
		t.Error("the same seed made other records")
	}
	if slices.EqualFunc(a, take(gerrittest.New(4, gerrittest.Options{}), 3000), same) {
		t.Error("another seed made the same records")
	}
}

func TestKeys(t *testing.T) {
	spread := map[string]int{}
	for _, r := range take(gerrittest.New(1, gerrittest.Options{SpreadKeys: true}), 5000) {
		spread[r.Key]++
		if r.Key == "" || len(r.Key) > 256 {
			t.Fatalf("a key of %d bytes", len(r.Key))
		}
	}
	most := slices.Max(slices.Collect(maps.Values(spread)))
	if len(spread) < 200 || most > 500 {
		t.Errorf("%d keys, one of them with %d of 5000 records", len(spread), most)
	}
	for _, r := range take(gerrittest.New(1, gerrittest.Options{}), 5000) {
		if r.Key != r.Type {
			t.Fatalf("key %q of a %q: the plugin's key is the type", r.Key, r.Type)
		}
	}
}

func TestOptions(t *testing.T) {
	now := time.Date(2030, time.May, 1, 0, 0, 0, 0, time.UTC)
	g := gerrittest.New(1, gerrittest.Options{InstanceID: "review-9", Clock: func() time.Time { return now }})
	escaped := false
	for _, r := range take(g, 1000) {
		if r.Want == gerrittest.DeadLetter {
			continue
		}
		e, err := gerrit.Scan(r.Data)
		if err != nil || e.Created != now.Unix() || !strings.HasSuffix(string(r.Data), `"instanceId":"review-9"}`) {
			t.Fatalf("%v, created %d: %.300s", err, e.Created, r.Data)
		}
		escaped = escaped || strings.Contains(string(r.Data), `\u003c`) && strings.Contains(string(r.Data), `\u0027`)
		if strings.ContainsAny(string(r.Data), "<>&='") {
			t.Fatalf("not escaped as Gson does: %.300s", r.Data)
		}
	}
	if !escaped {
		t.Error("nothing was escaped as Gson does")
	}
}

func BenchmarkNext(b *testing.B) {
	g := gerrittest.New(1, gerrittest.Options{})
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(g.Next().Data)))
	}
}
