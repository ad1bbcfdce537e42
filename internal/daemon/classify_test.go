package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
)

// classifier returns one with the preset of Zuul.
func classifier(tb testing.TB) gerritstream.Classifier {
	tb.Helper()
	filter, err := gerrit.NewFilter(gerrit.FilterConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	return NewClassifier(filter, nil)
}

// judge returns the verdict on a record with these bytes.
func judge(classify gerritstream.Classifier, data string) gerritstream.Verdict {
	return classify("shardId-000000000000", &gerritstream.Record{Data: []byte(data)})
}

const merged = `{"type":"change-merged","change":{"project":"platform/x","number":4711,"branch":"main"},` +
	`"project":"platform/x","refName":"refs/heads/main","eventCreatedOn":1767225600}`

func TestClassifier(t *testing.T) {
	tests := []struct {
		name, data string
		want       gerritstream.Verdict
	}{
		{"queued", merged, gerritstream.Verdict{Event: gerritstream.Event{
			Type: "change-merged", Project: "platform/x", Ref: "refs/heads/main", Change: 4711,
			Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		}}},
		{"filtered by type", `{"type":"cache-eviction"}`, gerritstream.Verdict{
			Filter: gerrit.RuleType, Event: gerritstream.Event{Type: "cache-eviction"},
		}},
		{"filtered by ref", `{"type":"ref-updated","refUpdate":{"refName":"refs/changes/11/4711/meta","project":"x"}}`,
			gerritstream.Verdict{Filter: gerrit.RuleMeta, Event: gerritstream.Event{
				Type: "ref-updated", Project: "x", Ref: "refs/changes/11/4711/meta",
			}}},
	}
	classify := classifier(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := judge(classify, tt.data); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestClassifierReportsBadRecords(t *testing.T) {
	classify := classifier(t)
	for data, reason := range map[string]gerrit.Reason{
		"": gerrit.ReasonJSON, "[]": gerrit.ReasonShape, `{"type":7}`: gerrit.ReasonType, "{\"type\":\"\xff\"}": gerrit.ReasonUTF8,
	} {
		v := judge(classify, data)
		if v.Bad != string(reason) || v.Detail == "" || v.Filter != "" {
			t.Errorf("%q: %+v, want bad: %s", data, v, reason)
		}
	}
}

// TestClassifierKeepsNothingOfTheRecord: a page's memory is reused once its
// commit has returned.
func TestClassifierKeepsNothingOfTheRecord(t *testing.T) {
	classify := classifier(t)
	data := []byte(merged)
	before := classify("shard", &gerritstream.Record{Data: data})
	want := fmt.Sprintf("%+v", before)
	for i := range data {
		data[i] = 'x'
	}
	if got := fmt.Sprintf("%+v", before); got != want {
		t.Errorf("after the page was used again the verdict is %s", got)
	}
}

// TestUnusedEntriesAreWarnedAbout: once, in one line, after the first thousand
// valid events.
func TestUnusedEntriesAreWarnedAbout(t *testing.T) {
	filter, err := gerrit.NewFilter(gerrit.FilterConfig{Types: []string{"change-merged", "coment-added"},
		Projects: []string{"platform/*", "plattform/*"}})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	d := &Daemon{log: slog.New(slog.NewTextHandler(&log, nil))}
	classify := NewClassifier(filter, d.warnUnused)
	for range firstEvents - 1 {
		judge(classify, merged)
		judge(classify, "bad")
	}
	if log.Len() > 0 {
		t.Fatalf("too early: %s", &log)
	}
	for range 10 {
		judge(classify, merged)
	}
	line := log.String()
	if strings.Count(line, "\n") != 1 || !strings.Contains(line, "level=WARN") ||
		!strings.Contains(line, "coment-added") || !strings.Contains(line, "plattform/*") ||
		strings.Contains(line, "change-merged") {
		t.Errorf("got %s", line)
	}
}

// The sink for standard output relies on it: what is not bad is JSON in UTF-8.
func TestClassifierQueuesOnlyJSON(t *testing.T) {
	classify := classifier(t)
	files, err := filepath.Glob("../../gerrit/testdata/*/*")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{data, append(data[:len(data):len(data)], 'x'), data[:len(data)/2],
			bytes.Replace(data, []byte("e"), []byte("\xe9"), 1)} {
			if v := judge(classify, string(data)); v.Bad == "" && (!json.Valid(data) || !utf8.Valid(data)) {
				t.Errorf("%s: passed %q", name, data)
			}
		}
	}
}

func TestInterner(t *testing.T) {
	in := &interner{seed: maphash.MakeSeed()}
	a, b := in.text([]byte("ref-updated")), in.text([]byte("ref-updated"))
	if a != "ref-updated" || unsafe.StringData(a) != unsafe.StringData(b) {
		t.Errorf("%q and %q are two strings", a, b)
	}
	if in.text(nil) != "" {
		t.Error("nothing is something")
	}
	for range 2 {
		if got := in.text([]byte(strings.Repeat("p", 5000))); len(got) != 1024 {
			t.Errorf("a long text is kept at %d bytes", len(got))
		}
	}
}

// TestInternerIsSafe has many goroutines remember more texts than there are
// slots.
func TestInternerIsSafe(t *testing.T) {
	in := &interner{seed: maphash.MakeSeed()}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 3 * internSlots {
				if want := fmt.Sprint("project", i); in.text([]byte(want)) != want {
					t.Errorf("%s became another", want)
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkClassify judges a small event: the string for its ref is the one
// allocation.
func BenchmarkClassify(b *testing.B) {
	classify := classifier(b)
	data := []byte(merged)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	record := gerritstream.Record{Data: data}
	for b.Loop() {
		classify("shard", &record)
	}
}

// Records that belong to another shard are dropped by a rule of their own,
// whatever they hold.
func TestForeignRecordsAreDropped(t *testing.T) {
	for _, data := range []string{merged, "no event"} {
		v := classifier(t)("shardId-000000000000", &gerritstream.Record{Data: []byte(data), Foreign: true})
		if v.Bad != "" || v.Filter != RuleForeign || !slices.Contains(append(gerrit.Rules(), RuleForeign), v.Filter) {
			t.Errorf("%s: got %+v", data, v)
		}
	}
}
