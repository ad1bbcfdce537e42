package test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/iam"
)

// quoted is a text between back-ticks.
var quoted = regexp.MustCompile("`([^`\n]+)`")

// testName is a test as docs/testing.md writes it: the package's folder
// ("gerritstream" for the root), a dot, the function.
var testName = regexp.MustCompile(`^([a-z0-9/]+)\.((?:Test|Fuzz|Example|Benchmark)\w*)$`)

// bareTestName is a test without its package.
var bareTestName = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w*$`)

// TestTestsInDocsExist looks for each test and each file that docs/testing.md
// names.
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

// TestMissingTestsInDocsAreFound shows that a wrong name is an error.
func TestMissingTestsInDocsAreFound(t *testing.T) {
	for _, name := range []string{
		"test.TestNobodyWroteThis", "nowhere.TestTestsInDocsExist", "consumer.TestTestsInDocsExist", "TestTestsInDocsExist",
		"test/summary.TestSkips", "cmd/gerritstream/testdata/script/nothing.txtar", "test/nothing.go",
	} {
		if checkNamed(name) == nil {
			t.Errorf("%q is not refused", name)
		}
	}
	for _, name := range []string{"test.TestTestsInDocsExist", "test/docs_test.go", "make test",
		"--store sqlite:PATH"} {
		if err := checkNamed(name); err != nil {
			t.Errorf("%q is refused: %v", name, err)
		}
	}
}

// checkNamed returns an error if name is a test or a file that does not exist.
// Other text is ignored.
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

// checkTest looks for a test in the test files of a folder.
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

func TestOperationsListsEveryExitCode(t *testing.T) {
	var listed, used []string
	for _, row := range tables(section(t, readFile(t, "docs/operations.md"), "## Exit codes")) {
		listed = append(listed, row[0])
	}
	code := regexp.MustCompile(`(?m)^\texit\w+\s+= (\d+)$`)
	for _, m := range code.FindAllStringSubmatch(source(t, "cmd/gerritstream"), -1) {
		used = append(used, m[1])
	}
	if len(used) == 0 || !slices.Equal(listed, used) {
		t.Errorf("docs/operations.md lists the exit codes %v, the command has %v", listed, used)
	}
}

func TestOperationsListsEveryMetric(t *testing.T) {
	metric := regexp.MustCompile(`(?:counters?\(|desc\(|labelled\(|Name: )"([a-z_]+)"`)
	var listed, used []string
	for _, m := range metric.FindAllStringSubmatch(source(t, "internal/admin"), -1) {
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

// TestPolicyIsWhatIsAsked compares what the policies allow of Kinesis with the
// operations that package kinesis calls: the first one for polling, and a list
// of statements for enhanced fan-out.
func TestPolicyIsWhatIsAsked(t *testing.T) {
	type statement struct{ Action []string }
	var policy struct{ Statement []statement }
	var fanOut []statement
	policies := blocks(readFile(t, "docs/operations.md"), "json")
	for i, block := range policies {
		if !json.Valid([]byte(block)) {
			t.Errorf("docs/operations.md: block %d is not JSON", i)
		}
		if strings.HasPrefix(block, "[") && json.Unmarshal([]byte(block), &fanOut) != nil {
			t.Errorf("docs/operations.md: block %d is not a list of statements", i)
		}
	}
	if len(policies) == 0 || json.Unmarshal([]byte(policies[0]), &policy) != nil || len(policy.Statement) != 1 {
		t.Fatal("docs/operations.md has no policy of one statement")
	}
	called := map[string]bool{}
	operation := regexp.MustCompile(`target\{(?:operation: )?"(\w+)"`)
	for _, m := range operation.FindAllStringSubmatch(source(t, "kinesis"), -1) {
		called["kinesis:"+m[1]] = true
	}
	allowed := map[string]bool{}
	for _, s := range append(policy.Statement, fanOut...) {
		for _, action := range s.Action {
			allowed[action] = true
			if !called[action] {
				t.Errorf("docs/operations.md allows %s, which is never called", action)
			}
		}
	}
	for action := range called {
		if !allowed[action] {
			t.Errorf("docs/operations.md: the policy lacks %s", action)
		}
	}
}

// TestPolicyInDocsIsPrinted: the policies of docs/operations.md are those that
// `iam-policy` prints.
func TestPolicyInDocsIsPrinted(t *testing.T) {
	const account = "123456789012"
	need := iam.Need{
		Stream: "arn:aws:kinesis:us-west-2:" + account + ":stream/gerrit", FanOut: true,
		Key:  "arn:aws:kms:us-west-2:" + account + ":key/11111111-2222-3333-4444-555555555555",
		Role: "arn:aws:iam::" + account + ":role/gerrit-events", ExternalID: "example",
		Principal: "arn:aws:iam::210987654321:user/gerritstream",
	}
	policies := need.Policies()
	document := func(statements ...iam.Statement) any {
		return map[string]any{"Version": "2012-10-17", "Statement": statements}
	}
	reader := policies[0].Statements // to read, to decrypt, to read by fan-out
	printed := []any{
		document(reader[0]), reader[1], document(policies[1].Statements...), document(policies[2].Statements...),
		reader[2:],
	}
	found := blocks(section(t, readFile(t, "docs/operations.md"), "## IAM policy"), "json")
	if len(found) != len(printed) {
		t.Fatalf("docs/operations.md has %d policies, want %d", len(found), len(printed))
	}
	for i, block := range found {
		want, err := json.Marshal(printed[i])
		if err != nil {
			t.Fatal(err)
		}
		if got, want := decoded(t, block), decoded(t, string(want)); !reflect.DeepEqual(got, want) {
			t.Errorf("docs/operations.md, policy %d: it is\n%v, printed is\n%v", i, got, want)
		}
	}
}

// decoded returns what a text in JSON holds.
func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// TestReadmeIsShort keeps the README to a screen for each of its readers.
func TestReadmeIsShort(t *testing.T) {
	if n := strings.Count(readFile(t, "README.md"), "\n"); n > 250 {
		t.Errorf("README.md has %d lines, want at most 250", n)
	}
}

// TestReadmeExampleIsCompiled finds the README's Go code in the example that
// is run.
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

// TestErrorsInDocsExist finds each message of the troubleshooting tables in the
// code. Those of AWS are in the embedded Kinesis.
func TestErrorsInDocsExist(t *testing.T) {
	all := source(t, ".")
	for page, heading := range map[string]string{
		"docs/operations.md": "## Troubleshooting",
		"docs/zuul.md":       "### Log lines",
	} {
		rows := tables(section(t, readFile(t, page), heading))
		if len(rows) == 0 {
			t.Errorf("%s has no table of messages", page)
		}
		for _, row := range rows {
			for _, text := range quoted.FindAllStringSubmatch(row[0], -1) {
				if text[1] != "address already in use" && !strings.Contains(all, text[1]) { // of the operating system
					t.Errorf("%s, %s: no code has %q", page, heading, text[1])
				}
			}
		}
	}
}

// link is a link to a place within the repository.
var link = regexp.MustCompile(`\]\(([^):#]+)?(#[a-z0-9-]+)?\)`)

// TestLinksLeadSomewhere looks for the file and the heading of each link.
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
