package gerrit_test

import (
	"encoding/json"
	"testing"

	"github.com/gerritstream/gerritstream/gerrit"
)

// lifelike are events of the usual size: the most common one of a stream, and
// its heaviest everyday events.
var lifelike = []string{"ref-updated", "patchset-created", "comment-added"}

func BenchmarkScan(b *testing.B) {
	for _, name := range lifelike {
		data := readEvent(b, name)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := gerrit.Scan(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkValid measures the standard library for the syntax alone, for
// comparison.
func BenchmarkValid(b *testing.B) {
	for _, name := range lifelike {
		data := readEvent(b, name)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if !json.Valid(data) {
					b.Fatal("not valid")
				}
			}
		})
	}
}

// BenchmarkJudge measures Scan and Rule of the default filter together: the
// cost of each record of a stream.
func BenchmarkJudge(b *testing.B) {
	filter := zuulFilter(b)
	data := readEvent(b, "ref-updated")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		e, err := gerrit.Scan(data)
		if err != nil {
			b.Fatal(err)
		}
		filter.Rule(&e)
	}
}

func readEvent(tb testing.TB, name string) []byte {
	tb.Helper()
	return readCase(tb, "events", name+".json")
}
