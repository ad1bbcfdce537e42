package gerrit_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/gerrit"
)

// TestHostileSizes checks records as large as the stream allows, and records
// made to use up stack, time or memory. None of them makes Scan allocate more
// than a fault takes.
func TestHostileSizes(t *testing.T) {
	const largest = 10 << 20 // a record of the stream
	event := func(rest string) string { return `{"type":"comment-added","project":"p"` + rest + `}` }
	nested := func(open, shut string, depth int) string {
		return event(`,"x":` + strings.Repeat(open, depth-1) + "1" + strings.Repeat(shut, depth-1))
	}
	fill := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (largest-len(head)-len(tail))/len(unit)) + tail
	}
	filter := zuulFilter(t)
	for _, tt := range []struct{ name, data, want string }{
		{"10 MiB of text", fill(`{"type":"comment-added","project":"p","comment":"`, "x", `"}`), "keep"},
		{"10 MiB of escapes", fill(`{"type":"comment-added","project":"p","comment":"`, `\u003c`, `"}`), "keep"},
		{"10 MiB of one member, again and again", fill(`{`, `"change":{"number":1},`, `"type":"comment-added"}`),
			"keep"},
		{"10 MiB of open arrays", fill(`{"x":`, "[", ""), "depth"},
		{"10 MiB of digits", fill(`{"type":"comment-added","x":`, "9", "}"), "number"},
		{"10 MiB of text without an end", fill(`{"type":"`, "x", ""), "json"},
		{"10 MiB of continuation bytes", fill(`{"type":"`, "\x80", `"}`), "utf8"},
		{"200 arrays deep", nested("[", "]", gerrit.MaxDepth), "keep"},
		{"201 arrays deep", nested("[", "]", gerrit.MaxDepth+1), "depth"},
		{"200 objects deep", nested(`{"a":`, "}", gerrit.MaxDepth), "keep"},
		{"201 objects deep", nested(`{"a":`, "}", gerrit.MaxDepth+1), "depth"},
		{"a number of 4,000 digits", event(`,"x":` + strings.Repeat("7", gerrit.MaxNumber)), "keep"},
		{"a number of 5,000 digits", event(`,"x":` + strings.Repeat("7", 5000)), "number"},
		{"a change of 5,000 digits", event(`,"change":{"number":` + strings.Repeat("7", 5000) + "}"), "number"},
		{"a change of 5,000 digits in text", event(`,"change":{"number":"` + strings.Repeat("7", 5000) + `"}`), "keep"},
		{"a fraction of 5,000 digits", event(`,"x":0.` + strings.Repeat("7", 5000)), "number"},
		{"an exponent of 5,000 digits", event(`,"x":1e` + strings.Repeat("0", 5000)), "number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := []byte(tt.data)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := verdict(filter, data)
			runtime.ReadMemStats(&after)
			if got != tt.want {
				t.Errorf("verdict %q, want %q", got, tt.want)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 64<<10 {
				t.Errorf("judging %d bytes allocated %d", len(data), took)
			}
		})
	}
}
