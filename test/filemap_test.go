package test

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// TestFileMapIsComplete compares the map of docs/design.md with the files that
// there are: every Go file but tests, and whatever else of ours is run.
func TestFileMapIsComplete(t *testing.T) {
	mapped := map[string]bool{}
	for _, row := range tables(section(t, readFile(t, "docs/design.md"), "## File map")) {
		file := strings.Trim(row[0], "`")
		if mapped[file] {
			t.Errorf("docs/design.md: %s is there twice", file)
		}
		if len(row) != 2 || row[1] == "" {
			t.Errorf("docs/design.md: nothing is said of %s", file)
		}
		mapped[file] = true
	}
	there := files(t, ".")
	for file := range mapped {
		if !slices.Contains(there, file) {
			t.Errorf("docs/design.md: there is no %s", file)
		}
	}
	for _, file := range there {
		run := slices.Contains([]string{".go", ".py", ".sh", ".cjs", ".html"}, path.Ext(file))
		if run && !strings.HasSuffix(file, "_test.go") && !mapped[file] {
			t.Errorf("docs/design.md: the file map lacks %s", file)
		}
	}
}
