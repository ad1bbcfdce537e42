package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// quoted is what stands between back-ticks.
var quoted = regexp.MustCompile("`([^`\n]+)`")

// testName is a test as docs/testing.md writes it: the package's folder ("gerritstream" for the root), a dot, the function.
var testName = regexp.MustCompile(`^([a-z0-9/]+)\.((?:Test|Fuzz|Example|Benchmark)\w*)$`)

// bareTestName is a test that lacks its package.
var bareTestName = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w*$`)

// TestTestsInDocsExist reads docs/testing.md and looks for each test and each file that it names.
func TestTestsInDocsExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "testing.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := 0
	for _, match := range quoted.FindAllSubmatch(page, -1) {
		name := string(match[1])
		if testName.MatchString(name) {
			tests++
		}
		if err := checkNamed(name); err != nil {
			t.Errorf("docs/testing.md: %v", err)
		}
	}
	if tests == 0 {
		t.Error("docs/testing.md names no test in the form `package.TestName`")
	}
}

// TestMissingTestsInDocsAreFound shows that names of nothing are refused.
func TestMissingTestsInDocsAreFound(t *testing.T) {
	for _, name := range []string{
		"test.TestNobodyWroteThis", "nowhere.TestTestsInDocsExist", "consumer.TestTestsInDocsExist", "TestTestsInDocsExist",
		"test/summary.TestSkips", "cmd/gerritstream/testdata/script/nothing.txtar", "test/nothing.go",
	} {
		if checkNamed(name) == nil {
			t.Errorf("%q is taken for something that exists", name)
		}
	}
	for _, name := range []string{"test.TestTestsInDocsExist", "test/docs_test.go", "make test", "--store sqlite:PATH"} {
		if err := checkNamed(name); err != nil {
			t.Errorf("%q is refused: %v", name, err)
		}
	}
}

// checkNamed returns an error if name is a test or a file, and is not there. Other quoted text is none of its business.
func checkNamed(name string) error {
	if m := testName.FindStringSubmatch(name); m != nil {
		return checkTest(m[1], m[2])
	}
	if bareTestName.MatchString(name) {
		return fmt.Errorf("%s: name its package: `package.%s`", name, name)
	}
	extensions := []string{".go", ".txtar", ".sh", ".py", ".md", ".cjs"}
	if slices.Contains(extensions, filepath.Ext(name)) && !strings.ContainsAny(name, " *") {
		if _, err := os.Stat(filepath.Join("..", name)); err != nil {
			return err
		}
	}
	return nil
}

// checkTest looks for a test's function in the test files of a folder.
func checkTest(folder, function string) error {
	if folder == "gerritstream" {
		folder = "."
	}
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(parsed.Decls, func(d ast.Decl) bool { return isFunction(d, function) }) {
			return nil
		}
	}
	return fmt.Errorf("%s has no %s", folder, function)
}

func isFunction(d ast.Decl, name string) bool {
	f, ok := d.(*ast.FuncDecl)
	return ok && f.Recv == nil && f.Name.Name == name
}
