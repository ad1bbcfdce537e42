package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module is a module with a package of each outcome.
var module = map[string]string{
	"go.mod": "module example\n\ngo 1.26\n",
	"good/good_test.go": `package good
import "testing"
func TestGood(t *testing.T) { t.Log("not to be seen") }`,
	"fails/fails_test.go": `package fails
import "testing"
func TestPasses(t *testing.T) { t.Log("not to be seen") }
func TestFails(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Error("it is wrong") }) }`,
	"panics/panics_test.go": `package panics
import "testing"
func TestPanics(t *testing.T) { panic("it is over") }`,
	"broken/broken_test.go": `package broken
import "testing"
func TestBroken(t *testing.T) { undefined() }`,
	"skips/skips_test.go": `package skips
import "testing"
func TestGoes(t *testing.T) {}
func TestSkips(t *testing.T) { t.Skip("it is missing; install with: make it") }`,
}

// summarise runs the command over packages of the module.
func summarise(t *testing.T, ci string, packages ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range module {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("CI", ci)
	var out bytes.Buffer
	err := run(packages, &out)
	return out.String(), err
}

func TestFailuresAreShownWhole(t *testing.T) {
	out, err := summarise(t, "", "./...")
	if err == nil {
		t.Error("no error, though packages failed")
	}
	for _, want := range []string{
		"ok  \texample/good", "FAIL\texample/fails", "--- FAIL: TestFails/sub", "it is wrong",
		"FAIL\texample/panics", "panic: it is over", "undefined: undefined", "FAIL\texample/broken",
		"1 skipped:\n  example/skips TestSkips: it is missing; install with: make it\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
	if strings.Contains(out, "not to be seen") {
		t.Errorf("the output of a passed test is shown:\n%s", out)
	}
}

func TestResultsAreTheLastLines(t *testing.T) {
	out, err := summarise(t, "true", "./good")
	if err != nil || !strings.HasPrefix(out, "ok  \texample/good") || strings.Count(out, "\n") != 1 {
		t.Errorf("error %v, output:\n%s", err, out)
	}
}

func TestSkipFailsInCI(t *testing.T) {
	out, err := summarise(t, "true", "./skips")
	if err == nil || !strings.Contains(err.Error(), "1 tests were skipped") {
		t.Errorf("error %v, output:\n%s", err, out)
	}
}

func TestGroupsRunWithFlagsOfTheirOwn(t *testing.T) {
	out, err := summarise(t, "", "-run=^TestGood$", "./good", "--", "-run=^TestPasses$", "./good", "./fails")
	if err != nil || !strings.Contains(out, "ok  \texample/fails") || strings.Count(out, "ok  \texample/good") != 2 ||
		!strings.Contains(out, "[no tests to run]") {
		t.Errorf("error %v, output:\n%s", err, out)
	}
}

func TestAFailureIsThatOfAnyGroup(t *testing.T) {
	for _, groups := range [][]string{{"./fails", "--", "./good"}, {"./good", "--", "./fails"}} {
		out, err := summarise(t, "", groups...)
		if err == nil || !strings.Contains(out, "ok  \texample/good") || !strings.Contains(out, "it is wrong") {
			t.Errorf("%q: error %v, output:\n%s", groups, err, out)
		}
	}
}

func TestNothingToTestIsAnError(t *testing.T) {
	for _, args := range [][]string{nil, {"--"}} {
		if out, err := summarise(t, "", args...); err == nil {
			t.Errorf("%q: no error, output:\n%s", args, out)
		}
	}
}
