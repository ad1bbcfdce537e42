package test

import (
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// commentWidth is where comments end, with tabs of four columns. (Code ends at
// 120: lll in .golangci.yml.)
const commentWidth = 80

// TestCommentsAreNarrow refuses comments on lines of their own that are wider.
// `make lint` runs it too.
func TestCommentsAreNarrow(t *testing.T) {
	for _, file := range files(t, ".") {
		if path.Ext(file) == ".go" {
			for _, line := range wideComments(t, file, readFile(t, file)) {
				t.Errorf("%s:%d: the comment is wider than %d columns", file, line, commentWidth)
			}
		}
	}
}

func TestWideCommentsAreFound(t *testing.T) {
	const wide = "// Package p has a comment of more than eighty columns, which is what no line may have.\n"
	if got := wideComments(t, "p.go", "// Package p.\npackage p\n\n"+wide+"var X = 1 "+wide); !slices.Equal(got,
		[]int{4}) {
		t.Errorf("found at lines %v, want 4", got)
	}
}

// wideComments returns the lines of a file with comments that are too wide.
// Directives, long words such as URLs, and the output of examples cannot be
// wrapped.
func wideComments(t *testing.T, name, text string) (wide []int) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text, "\n")
	for _, group := range file.Comments {
		if strings.HasPrefix(group.Text(), "Output:") || strings.HasPrefix(group.Text(), "Unordered output:") {
			continue
		}
		for n := set.Position(group.Pos()).Line; n <= set.Position(group.End()).Line; n++ {
			line := strings.TrimSpace(lines[n-1])
			switch {
			case !strings.HasPrefix(line, "//"), strings.HasPrefix(line, "//go:"), strings.Count(line, " ") < 2:
			case width(lines[n-1]) > commentWidth:
				wide = append(wide, n)
			}
		}
	}
	return wide
}

// width returns the columns that a line takes.
func width(line string) (columns int) {
	for _, r := range line {
		if columns++; r == '\t' {
			columns = (columns + 3) / 4 * 4
		}
	}
	return columns
}
