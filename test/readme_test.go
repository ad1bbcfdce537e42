package test

import (
	"encoding/json"
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

// section returns what stands under a heading of a page, up to the next one of
// its rank or a higher one.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(page, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", heading)
	}
	for rank := range strings.Count(heading[:strings.Index(heading, " ")], "#") {
		if before, _, ok := strings.Cut(text, "\n"+strings.Repeat("#", rank+1)+" "); ok {
			text = before
		}
	}
	return text
}

// tables returns the cells of all rows in a text's tables, without those of
// their heads.
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

// source returns the text of all Go files under a folder, tests left out.
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
// written by hand.
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

func TestOperationsListsEveryExitCode(t *testing.T) {
	var listed, used []string
	for _, row := range tables(section(t, readFile(t, "docs/operations.md"), "## Exit codes")) {
		listed = append(listed, row[0])
	}
	for _, m := range regexp.MustCompile(`(?m)^\texit\w+\s+= (\d+)$`).FindAllStringSubmatch(source(t, "cmd/gerritstream"), -1) {
		used = append(used, m[1])
	}
	if len(used) == 0 || !slices.Equal(listed, used) {
		t.Errorf("docs/operations.md lists the exit codes %v, the command has %v", listed, used)
	}
}

func TestOperationsListsEveryMetric(t *testing.T) {
	made := regexp.MustCompile(`(?:counters?\(|desc\(|Name: )"([a-z_]+)"`).FindAllStringSubmatch(source(t, "internal/admin"), -1)
	var listed, used []string
	for _, m := range made {
		used = append(used, "`gerritstream_"+m[1]+"`")
	}
	for _, row := range tables(section(t, readFile(t, "docs/operations.md"), "## Health and metrics")) {
		if strings.HasPrefix(row[0], "`gerritstream_") {
			listed = append(listed, row[0])
		}
	}
	slices.Sort(listed)
	slices.Sort(used)
	if len(used) == 0 || !slices.Equal(listed, used) {
		t.Errorf("docs/operations.md lists the metrics\n%v, there are\n%v", listed, used)
	}
}

// TestPolicyIsWhatIsAsked compares the first policy with the operations that package kinesis calls, and reads the others.
func TestPolicyIsWhatIsAsked(t *testing.T) {
	var policy struct{ Statement []struct{ Action []string } }
	policies := blocks(readFile(t, "docs/operations.md"), "json")
	for i, block := range policies {
		if !json.Valid([]byte(block)) {
			t.Errorf("docs/operations.md: JSON block %d is none", i)
		}
	}
	if len(policies) == 0 || json.Unmarshal([]byte(policies[0]), &policy) != nil || len(policy.Statement) != 1 {
		t.Fatal("docs/operations.md has no policy of one statement")
	}
	called := map[string]bool{}
	for _, m := range regexp.MustCompile(`target\{(?:operation: )?"(\w+)"`).FindAllStringSubmatch(source(t, "kinesis"), -1) {
		called["kinesis:"+m[1]] = true
	}
	for _, action := range policy.Statement[0].Action {
		if !called[action] {
			t.Errorf("docs/operations.md allows %s, which nobody calls", action)
		}
		delete(called, action)
	}
	for action := range called {
		t.Errorf("docs/operations.md: the policy lacks %s", action)
	}
}

// TestReadmeExampleIsCompiled finds the README's Go in the example that is run.
func TestReadmeExampleIsCompiled(t *testing.T) {
	example := readFile(t, "consumer/example_test.go")
	found := blocks(readFile(t, "README.md"), "go")
	if len(found) == 0 {
		t.Error("README.md has no Go")
	}
	for _, block := range found {
		if !strings.Contains(example, block) {
			t.Errorf("README.md: this is not in consumer/example_test.go as it stands:\n%s", block)
		}
	}
}

// TestErrorsInDocsAreSaid finds each text of the tables of troubles in the code. Texts of AWS are in the embedded Kinesis.
func TestErrorsInDocsAreSaid(t *testing.T) {
	all := source(t, ".")
	for page, heading := range map[string]string{"docs/operations.md": "## Troubleshooting", "docs/zuul.md": "### Log lines"} {
		rows := tables(section(t, readFile(t, page), heading))
		if len(rows) == 0 {
			t.Errorf("%s has no table of troubles", page)
		}
		for _, row := range rows {
			for _, text := range quoted.FindAllStringSubmatch(row[0], -1) {
				if text[1] != "address already in use" && !strings.Contains(all, text[1]) { // the operating system says that
					t.Errorf("%s, %s: nothing says %q", page, heading, text[1])
				}
			}
		}
	}
}

// link is a link to a place within the repository.
var link = regexp.MustCompile(`\]\(([^):#]+)?(#[a-z0-9-]+)?\)`)

// TestLinksLeadSomewhere looks for the file, and in it the heading, that each link of a page names.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range files(t, ".") {
		if !strings.HasSuffix(page, ".md") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(readFile(t, page), -1) {
			path := page
			if m[1] != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(page), m[1]))
			}
			text, err := os.ReadFile(filepath.Join("..", path))
			switch {
			case err != nil:
				t.Errorf("%s: %v", page, err)
			case m[2] != "" && !slices.Contains(anchors(string(text)), m[2]):
				t.Errorf("%s: %s has no heading for %s", page, path, m[2])
			}
		}
	}
}

// anchors returns what the headings of a page can be reached by.
func anchors(page string) (found []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		found = append(found, "#"+regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(name, ""))
	}
	return found
}
