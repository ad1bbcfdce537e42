package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readFile reads a file of the repository by its path from the root.
func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section returns the text under a heading of a page, up to the next heading of
// its level or a higher one.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(page, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	for level := range strings.Count(heading[:strings.Index(heading, " ")], "#") {
		if before, _, ok := strings.Cut(text, "\n"+strings.Repeat("#", level+1)+" "); ok {
			text = before
		}
	}
	return text
}

// tables returns the cells of all rows of a text's tables, without the heads.
func tables(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
		case strings.HasPrefix(line, "|--"):
			rows = rows[:len(rows)-1]
		default:
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i, cell := range cells {
				cells[i] = strings.TrimSpace(cell)
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

// blocks returns the fenced blocks of a language.
func blocks(page, language string) (found []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		found = append(found, m[1])
	}
	return found
}

// source returns the text of all Go files under a folder except tests.
func source(t *testing.T, folder string) string {
	t.Helper()
	var all strings.Builder
	for _, file := range files(t, folder) {
		if strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") {
			all.WriteString(readFile(t, file))
		}
	}
	return all.String()
}

// files returns the paths, from the root, of the files under a folder that are
// not generated.
func files(t *testing.T, folder string) (paths []string) {
	t.Helper()
	root := ".."
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", "dist", "node_modules", "testdata"}, d.Name()):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		path, err = filepath.Rel(root, path)
		paths = append(paths, filepath.ToSlash(path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// anchors returns the anchors of a page's headings.
func anchors(page string) (found []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		found = append(found, "#"+regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(name, ""))
	}
	return found
}
