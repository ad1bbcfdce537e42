package gerrit_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/gerrit"
)

// TestHostile checks the expected verdict for each record of testdata/hostile,
// which has one for each row and rule about what harms a consumer.
func TestHostile(t *testing.T) {
	filter := zuulFilter(t)
	for _, row := range expectations(t, "hostile", 3) {
		name, want := row[0], row[1]
		t.Run(strings.TrimSuffix(name, ".json"), func(t *testing.T) {
			data := readCase(t, "hostile", name)
			if got := verdict(filter, data); got != want {
				t.Errorf("verdict %q, want %q: %s", got, want, row[2])
			}
		})
	}
}

// TestOdd checks the events of records that look wrong and are not.
func TestOdd(t *testing.T) {
	for _, row := range expectations(t, "odd", 7) {
		t.Run(strings.TrimSuffix(row[0], ".json"), func(t *testing.T) {
			e, err := gerrit.Scan(readCase(t, "odd", row[0]))
			if err != nil {
				t.Fatalf("%v: %s", err, row[6])
			}
			got := fmt.Sprintf("%q %q %q %d %d", e.Type, e.Project, e.Ref, e.Change, e.Created)
			want := fmt.Sprintf("%q %q %q %s %s", unquote(t, row[1]), unquote(t, row[2]), unquote(t, row[3]), row[4],
				row[5])
			if got != want {
				t.Errorf("got  %s\nwant %s: %s", got, want, row[6])
			}
		})
	}
}

// TestEvents checks a lifelike event of each known type.
func TestEvents(t *testing.T) {
	filter := zuulFilter(t)
	dropped := map[string]bool{}
	for _, name := range gerrit.ZuulDrop(false) {
		dropped[name] = true
	}
	for _, name := range gerrit.Types() {
		t.Run(name, func(t *testing.T) {
			data := readEvent(t, name)
			e, err := gerrit.Scan(data)
			if err != nil {
				t.Fatal(err)
			}
			if string(e.Type) != name || gerrit.Label(e.Type) != name || e.Created != 1767225601 {
				t.Errorf("got type %q, label %q, created %d", e.Type, gerrit.Label(e.Type), e.Created)
			}
			if project := "example/"; name != "cache-eviction" && !strings.HasPrefix(string(e.Project), project) {
				t.Errorf("project %q, want one of %s", e.Project, project)
			}
			if bytes.Contains(data, []byte(`"change":{`)) && (e.Change != 48213 || string(e.Ref) != "refs/heads/main") {
				t.Errorf("change %d, ref %q", e.Change, e.Ref)
			}
			if got := filter.Rule(&e) == gerrit.RuleType; got != dropped[name] {
				t.Errorf("dropped by its type: %v, want %v", got, dropped[name])
			}
		})
	}
	files, err := filepath.Glob("testdata/events/*")
	if err != nil || len(files) != len(gerrit.Types()) {
		t.Errorf("%d files for %d types: %v", len(files), len(gerrit.Types()), err)
	}
}

// TestLargestEvents checks the two events that grow to a record's limit, which
// no file holds.
func TestLargestEvents(t *testing.T) {
	var batch bytes.Buffer
	batch.WriteString(`{"refUpdates":[`)
	for i := range 5800 {
		fmt.Fprintf(&batch, `{"oldRev":"%040x","newRev":"%040x","refName":"refs/tags/v%d",`+
			`"project":"example/widgets"},`, i, i+1, i)
	}
	batch.Truncate(batch.Len() - 1)
	batch.WriteString(`],"type":"batch-ref-updated"}`)
	comment := `{"comment":"` + strings.Repeat(`\u003c`, 16<<10) +
		`","project":"example/widgets","type":"comment-added"}`
	for _, data := range []string{batch.String(), comment} {
		e, err := gerrit.Scan([]byte(data))
		if err != nil || string(e.Project) != "example/widgets" {
			t.Errorf("%d bytes: project %q, %v", len(data), e.Project, err)
		}
	}
}

// verdict describes what happens to a record: "keep", "drop:" and a rule, or
// the reason of its fault.
func verdict(filter *gerrit.Filter, data []byte) string {
	e, err := gerrit.Scan(data)
	var fault *gerrit.Fault
	switch {
	case errors.As(err, &fault):
		return string(fault.Reason)
	case filter.Rule(&e) != "":
		return "drop:" + filter.Rule(&e)
	}
	return "keep"
}

// expectations reads a folder's EXPECT.tsv, and checks that it names each file
// of the folder and no other.
func expectations(t *testing.T, folder string, columns int) [][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, f := range files {
		missing[filepath.Base(f)] = true
	}
	var rows [][]string
	for line := range strings.Lines(string(readCase(t, folder, "EXPECT.tsv"))) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		row := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(row) != columns || !missing[row[0]] {
			t.Fatalf("a line of %d columns, want %d, or without a file, or twice: %q", len(row), columns, line)
		}
		delete(missing, row[0])
		rows = append(rows, row)
	}
	if len(missing) > 0 || len(rows) == 0 {
		t.Fatalf("%d lines; files without one: %v", len(rows), missing)
	}
	return rows
}

func readCase(tb testing.TB, folder, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", folder, name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func unquote(t *testing.T, s string) string {
	t.Helper()
	s, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func zuulFilter(tb testing.TB) *gerrit.Filter {
	tb.Helper()
	filter, err := gerrit.NewFilter(gerrit.FilterConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	return filter
}
