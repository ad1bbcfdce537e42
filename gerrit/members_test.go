package gerrit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/gerrit"
)

// read is a member that Zuul reads, and the types that do no harm there: a
// letter for each of JSON's types, see letterOf.
type read struct {
	path string // "a/b"; "*" is each element of an array
	may  string
	of   []string // only in events of these types
}

// own are Gerrit's own types, in which these names are accounts.
var own = gerrit.Types()[:18]

// readMembers is written independently of the table that it is compared with.
var readMembers = func() []read {
	const text = "s0"
	list := []read{
		{path: "newRev", may: text},
		{path: "refName", may: text},
		{path: "ref", may: text},
		{path: "newHead", may: text},
		{path: "projectName", may: text},
		{path: "comment", may: text},
		{path: "uuid", may: text},
		{path: "status", may: text, of: []string{"ref-replicated"}},
		{path: "project", may: "s0o"},
		{path: "project/name", may: text},
		{path: "change", may: "o"},
		{path: "change/project", may: "s"},
		{path: "change/number", may: "ns0"},
		{path: "change/branch", may: text},
		{path: "change/id", may: text},
		{path: "change/url", may: text},
		{path: "change/topic", may: text},
		{path: "change/status", may: text},
		{path: "patchSet", may: "o"},
		{path: "patchSet/number", may: "ns0"},
		{path: "patchSet/ref", may: text},
		{path: "patchSet/revision", may: text},
		{path: "patchSetComments", may: "o"},
		{path: "patchSetComments/~PATCHSET_LEVEL", may: "a"},
		{path: "patchSetComments/~PATCHSET_LEVEL/*", may: "o"},
		{path: "patchSetComments/~PATCHSET_LEVEL/*/message", may: text},
		{path: "refUpdate", may: "o"},
		{path: "refUpdate/refName", may: "s"},
		{path: "refUpdate/project", may: "s"},
		{path: "refUpdate/oldRev", may: text},
		{path: "refUpdate/newRev", may: text},
		{path: "approvals", may: "a"},
		{path: "approvals/*", may: "o"},
		{path: "approvals/*/type", may: "s"},
		{path: "approvals/*/description", may: "s"},
		{path: "approvals/*/value", may: "ns"},
		{path: "approvals/*/oldValue", may: "ns"},
		{path: "added", may: "ao"},
		{path: "added/*", may: "s"},
		{path: "removed", may: "ao"},
		{path: "removed/*", may: "s"},
	}
	accounts := strings.Fields("uploader author submitter abandoner restorer reviewer changer editor deleter")
	for _, account := range accounts {
		list = append(list, read{path: account, may: "o0", of: own})
		for _, leaf := range []string{"name", "email", "username"} {
			list = append(list, read{path: account + "/" + leaf, may: text, of: own})
		}
	}
	return list
}()

// samples are a value of each of JSON's types, by letter.
var samples = map[string]string{"s": `"x"`, "n": "7", "b": "false", "o": "{}", "a": "[]", "0": "null"}

// letterOf returns the letter of a decoded value's type.
func letterOf(v any) string {
	switch v.(type) {
	case string:
		return "s"
	case json.Number:
		return "n"
	case bool:
		return "b"
	case map[string]any:
		return "o"
	case []any:
		return "a"
	}
	return "0"
}

// steps returns the names of a path. A name that begins with a slash is written
// with a tilde.
func steps(path string) []string {
	names := strings.Split(path, "/")
	for i, name := range names {
		names[i] = strings.Replace(name, "~", "/", 1)
	}
	return names
}

// valuesAt returns the values at a path.
func valuesAt(v any, path string) []any {
	level := []any{v}
	for _, name := range steps(path) {
		var next []any
		for _, v := range level {
			if list, ok := v.([]any); ok && name == "*" {
				next = append(next, list...)
			} else if object, ok := v.(map[string]any); ok {
				if inner, present := object[name]; present {
					next = append(next, inner)
				}
			}
		}
		level = next
	}
	return level
}

// with returns a valid event of a type, with a value at a path.
func with(eventType, path, value string) string {
	names := steps(path)
	for i := len(names) - 1; i >= 0; i-- {
		if names[i] == "*" {
			value = `[{"z":1},` + value + `,{"z":2}]`
			if path == "added/*" || path == "removed/*" {
				value = strings.NewReplacer(`{"z":1}`, `"a"`, `{"z":2}`, `"b"`).Replace(value)
			}
			continue
		}
		if i == 1 && names[0] == "refUpdate" {
			value = `"refName":"refs/tags/v1","project":"p","` + names[i] + `":` + value
		} else {
			value = `"` + names[i] + `":` + value
		}
		if i > 0 {
			value = "{" + value + "}"
		}
	}
	var must string
	switch eventType {
	case "ref-updated":
		must = `"refUpdate":{"refName":"refs/tags/v1","project":"p"},`
	case "project-head-updated":
		must = `"newHead":"refs/heads/main","projectName":"p",`
	}
	return "{" + must + value + `,"type":"` + eventType + `"}`
}

// ofEveryType returns an event for each member and each type of value.
func ofEveryType() [][]byte {
	var all [][]byte
	for _, m := range readMembers {
		for _, value := range samples {
			for _, eventType := range gerrit.Types() {
				all = append(all, []byte(with(eventType, m.path, value)))
			}
		}
	}
	return all
}

// TestEveryMemberThatZuulReadsHasItsType puts each of JSON's types into each
// member that Zuul reads, in an event of each type. A type that Gerrit does not
// write there is refused, and the fault names the member.
func TestEveryMemberThatZuulReadsHasItsType(t *testing.T) {
	for _, m := range readMembers {
		for letter, value := range samples {
			for _, eventType := range append(gerrit.Types(), "a-plugins-own") {
				checkMember(t, m, letter, with(eventType, m.path, value))
			}
		}
	}
}

func checkMember(t *testing.T, m read, letter, data string) {
	t.Helper()
	_, reasons := oracle([]byte(data))
	_, err := gerrit.Scan([]byte(data))
	if (err == nil) != (len(reasons) == 0) {
		t.Errorf("%s: %v, want one of %v", data, err, reasons)
	}
	if err == nil || strings.Contains(m.may, letter) {
		return // or another rule refuses what the table allows: a head that is null
	}
	var fault *gerrit.Fault
	if !errors.As(err, &fault) || fault.Reason != gerrit.ReasonShape {
		t.Fatalf("%s: %v is no fault of its shape", data, err)
	}
	path := strings.NewReplacer("/*", "[]", "/", ".", "~", "/").Replace(m.path)
	if !strings.Contains(fault.Detail, fmt.Sprintf(": %s is not a", path)) {
		t.Errorf("%s: %q does not name %s", data, fault.Detail, path)
	}
	if fault.Offset == 0 || !strings.HasPrefix(data[fault.Offset:], samples[letter]) {
		t.Errorf("%s: offset %d is not the value's", data, fault.Offset)
	}
}

// TestWhatCountsOfAWrongMember has members that occur twice, and arrays with
// one wrong element.
func TestWhatCountsOfAWrongMember(t *testing.T) {
	filter := zuulFilter(t)
	for _, c := range []struct{ data, want string }{
		{`{"newRev":[],"newRev":"a","type":"change-merged"}`, "keep"},
		{`{"newRev":"a","newRev":[],"type":"change-merged"}`, "shape"},
		{`{"change":{"number":[]},"change":{},"type":"x"}`, "keep"},
		{`{"change":{},"change":{"number":[]},"type":"x"}`, "shape"},
		{`{"change":{"number":[],"number":7},"type":"x"}`, "keep"},
		{`{"approvals":[{"value":[]},{"value":"1"}],"type":"x"}`, "shape"},
		{`{"approvals":[{"value":"1"},{"value":[]}],"type":"x"}`, "shape"},
		{`{"approvals":[{"value":[],"value":"1"}],"type":"x"}`, "keep"},
		{`{"approvals":[7,{"value":"1"}],"type":"x"}`, "shape"},
		{`{"approvals":[{"value":[]}],"approvals":[{"value":"1"}],"type":"x"}`, "keep"},
		{`{"approvals":7,"approvals":[{"value":"1"}],"type":"x"}`, "keep"},
		{`{"patchSetComments":{"\/PATCHSET_LEVEL":[null]},"type":"x"}`, "shape"},
		{`{"patchSetComments":{"a.go":7},"type":"x"}`, "keep"},
		{`{"author":"me","type":"comment-added"}`, "shape"},
		{`{"author":"me","type":"a-plugins-own"}`, "keep"},
		{`{"type":"comment-added","author":{"name":7}}`, "shape"},
		{`{"project":{"name":"p"},"refName":"refs/heads/main","type":"rerun-check"}`, "keep"},
		{`{"project":{"name":"p"},"ref":"refs/heads/main","type":"rerun-check"}`, "shape"},
		{`{"project":{"name":"p"},"ref":null,"type":"rerun-check"}`, "keep"},
		{`{"project":{"name":"p"},"type":"ref-replicated"}`, "shape"},
		{`{"refUpdate":{"refName":"main"},"type":"ref-updated"}`, "shape"},
		{`{"refUpdate":{"refName":"refs/heads\/main"},"type":"ref-updated"}`, "shape"},
		{`{"refUpdate":{"refName":"refs/tags/v1"},"type":"ref-updated"}`, "keep"},
		{`{"newHead":"refs/heads/main","type":"project-head-updated"}`, "shape"},
		{`{"":7,"newRev":"a","":[],"type":"change-merged"}`, "keep"},
	} {
		if got := verdict(filter, []byte(c.data)); got != c.want {
			t.Errorf("%s: %s, want %s", c.data, got, c.want)
		}
	}
}
