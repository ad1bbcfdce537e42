package gerrit_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream/gerrit"
)

func TestFaultNamesThePlace(t *testing.T) {
	for _, c := range []struct {
		data   string
		offset int
		text   string
	}{
		{``, 0, "json: byte 0: the record is empty"},
		{`{"a":1`, 6, "json: byte 6: the record ends after a member of an object"},
		{`{"a":tru}`, 5, "json: byte 5: a literal that JSON does not have"},
		{"{\"a\":\"x\xffy\"}", 7, "utf8: byte 7: not UTF-8, within a string"},
		{`{"a":"\ud800"}`, 6, "surrogate: byte 6: a surrogate escape without its other half"},
		{`{"a":[1e999]}`, 6, "number: byte 6: a number that is too large for a float64"},
		{` [1]`, 1, "shape: byte 1: the event is not an object"},
		{`{"type":7}`, 8, "type: byte 8: type is not a string"},
		{`{"a":1}`, 0, "type: type is missing; it must be a string"},
		{`{"type":"x","change":{"project":{}}}`, 32, "shape: byte 32: change.project is not a string"},
		{`{"type":"ref-updated"}`, 0, "shape: refUpdate.refName of a ref-updated is missing; it must be a string"},
	} {
		_, err := gerrit.Scan([]byte(c.data))
		var fault *gerrit.Fault
		if !errors.As(err, &fault) || fault.Offset != c.offset || err.Error() != c.text {
			t.Errorf("%q: got %+v, want offset %d, %q", c.data, err, c.offset, c.text)
		}
	}
}

// TestFaultHoldsNoPayload puts a secret into every text of the hostile records.
func TestFaultHoldsNoPayload(t *testing.T) {
	seen := map[gerrit.Reason]bool{}
	for _, data := range allRecords(t) {
		secret := strings.NewReplacer(`"x"`, `"SECRET"`, "example", "SECRET", "abc", "SECRET").Replace(string(data))
		_, err := gerrit.Scan([]byte(secret))
		var fault *gerrit.Fault
		if errors.As(err, &fault) {
			seen[fault.Reason] = true
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("payload in %q", err)
			}
		}
	}
	for _, reason := range gerrit.Reasons() {
		if !seen[reason] {
			t.Errorf("no record of testdata is refused for %q", reason)
		}
	}
}

// TestCutEventsAreRefused cuts lifelike events at every byte.
func TestCutEventsAreRefused(t *testing.T) {
	for _, name := range lifelike {
		data := readEvent(t, name)
		for end := range data {
			if _, err := gerrit.Scan(slices.Clip(data[:end])); err == nil {
				t.Errorf("%s: the first %d of %d bytes pass", name, end, len(data))
			}
		}
	}
}

// TestStringsAtEveryOffset puts every byte, and some escapes, at every place
// within the eight bytes that are examined together.
func TestStringsAtEveryOffset(t *testing.T) {
	want := map[string]gerrit.Reason{`\"`: "", `\n`: "", "\u00e9": "", "\u0800": "", "\U0001f600": "", `\a`: "json"}
	for c := range 256 {
		switch {
		case c < ' ' || c == '"' || c == '\\':
			want[string([]byte{byte(c)})] = gerrit.ReasonJSON
		case c >= utf8.RuneSelf:
			want[string([]byte{byte(c)})] = gerrit.ReasonUTF8
		default:
			want[string([]byte{byte(c)})] = ""
		}
	}
	for put, reason := range want {
		for length := range 20 {
			for at := range length + 1 {
				s := strings.Repeat("a", at) + put + strings.Repeat("~", length-at)
				_, err := gerrit.Scan([]byte(`{"type":"` + s + `"}`))
				var got gerrit.Reason
				if fault := (*gerrit.Fault)(nil); errors.As(err, &fault) {
					got = fault.Reason
				}
				if got != reason {
					t.Fatalf("%q: %v, want %q", s, err, reason)
				}
			}
		}
	}
}

// No pattern is a regular expression: package regexp keeps its machines in a
// pool, which the race detector empties at random.
func TestScanAndRuleDoNotAllocate(t *testing.T) {
	filter, err := gerrit.NewFilter(gerrit.FilterConfig{
		Types: []string{"ref-*", "comment-added"}, Projects: []string{"example/*"},
		Refs: []string{"refs/heads/*", "refs/tags/*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	data := [][]byte{[]byte(`{"` + strings.Repeat("k", 100) + `":1,"type":"ref-replicated"}`)}
	for _, name := range gerrit.Types() {
		data = append(data, readEvent(t, name))
	}
	for _, record := range data {
		allocated := testing.AllocsPerRun(20, func() {
			e, err := gerrit.Scan(record)
			if err != nil {
				t.Fatal(err)
			}
			filter.Rule(&e)
			gerrit.Label(e.Type)
		})
		if allocated != 0 {
			t.Errorf("%.100s: %v allocations", record, allocated)
		}
	}
}

func TestText(t *testing.T) {
	if got := gerrit.Text([]byte("example/widgets")); got != "example/widgets" {
		t.Errorf("got %q", got)
	}
	got := gerrit.Text([]byte(strings.Repeat("€", 1000)))
	if len(got) > 1024 || len(got) < 1000 || !utf8.ValidString(got) {
		t.Errorf("%d bytes, valid: %v", len(got), utf8.ValidString(got))
	}
}

func TestLabelIsBounded(t *testing.T) {
	for _, eventType := range []string{"", "x", "ref-updated2", "Ref-updated", strings.Repeat("a", 1<<20)} {
		if got := gerrit.Label([]byte(eventType)); got != gerrit.OtherType {
			t.Errorf("%.20q has the label %.20q", eventType, got)
		}
	}
}

func ExampleScan() {
	filter, err := gerrit.NewFilter(gerrit.FilterConfig{Projects: []string{"example/*"}})
	if err != nil {
		panic(err)
	}
	for _, record := range []string{
		`{"refUpdate":{"refName":"refs/heads/main","project":"example/widgets"},"type":"ref-updated"}`,
		`{"refUpdate":{"refName":"refs/changes/13/48213/meta","project":"example/widgets"},"type":"ref-updated"}`,
		`{"refUpdate":null,"type":"ref-updated"}`,
	} {
		event, err := gerrit.Scan([]byte(record))
		if err != nil {
			fmt.Println("dead letter:", err)
		} else if rule := filter.Rule(&event); rule != "" {
			fmt.Println("filtered:", rule)
		} else {
			fmt.Printf("queued: %s %s %s\n", event.Type, event.Project, event.Ref)
		}
	}
	// Output:
	// queued: ref-updated example/widgets refs/heads/main
	// filtered: meta-ref
	// dead letter: shape: byte 13: refUpdate is not an object
}
