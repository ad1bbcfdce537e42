package test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// TestLayoutExamplesAreWhatIsStored reads the examples of
// docs/zookeeper-layout.md as what they are said to be, and expects the same
// bytes when they are written again: a member that is renamed or added shows
// here.
func TestLayoutExamplesAreWhatIsStored(t *testing.T) {
	page := readFile(t, "docs/zookeeper-layout.md")
	for _, tc := range []struct {
		heading string
		again   func([]byte) ([]byte, error)
	}{
		{"### The origin", rewrite[struct {
			Format int `json:"format"`
			gerritstream.Origin
		}]},
		{"### A position", func(b []byte) ([]byte, error) {
			pos, stamp, err := storekit.DecodePosition(b)
			return storekit.EncodePosition(pos, stamp), err
		}},
		{"### A member", rewrite[struct {
			Format int `json:"format"`
			gerritstream.MemberInfo
		}]},
		{"### A report", rewrite[gerritstream.Report]},
	} {
		examples := 0
		for line := range strings.Lines(section(t, page, tc.heading)) {
			example, ok := strings.CutPrefix(line, "    {")
			if !ok {
				continue
			}
			examples++
			want := "{" + strings.TrimSpace(example)
			if got, err := tc.again([]byte(want)); err != nil || string(got) != want {
				t.Errorf("docs/zookeeper-layout.md, %s: written again it is\n%s\nnot\n%s (%v)", tc.heading, got, want,
					err)
			}
		}
		if examples == 0 {
			t.Errorf("docs/zookeeper-layout.md, %s: there is no example", tc.heading)
		}
	}
}

// rewrite reads JSON as a T, which must have all its members, and writes it
// again.
func rewrite[T any](b []byte) ([]byte, error) {
	var v T
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
