// Command mutants breaks the program's guarantees on purpose, one at a time, and runs the tests that should see it. It prints each
// break with the test that failed, and fails if one survives: a guarantee that no test holds.
//
//	go run ./test/mutants [-run REGEXP] [-v]
//
// The sources are left alone: a broken copy of a file is put in its place by the go command's -overlay.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	only := flag.String("run", "", "break only what this regular expression `matches`")
	verbose := flag.Bool("v", false, "show what the tests say")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// mutant is one break: in a file, some lines become others; and the tests of a package that are to fail then.
type mutant struct {
	name     string // what is broken, in a few words
	file     string // from the repository's root
	old, new string // old is there exactly once
	imports  string // added to its imports
	more     string // added at its end
	pkg      string // whose tests are run, "./sqlite"
	tests    string // which of them, as -run takes it
}

func run(ctx context.Context, only string, verbose bool) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	var chosen []mutant
	for _, m := range slices.Concat(
		mutants,
		kinesisMutants,
		kinesisClientMutants,
		zookeeperMutants,
		crewMutants,
		silentMutants,
		sqliteMutants,
		programMutants,
		gerritMutants,
	) {
		if !match.MatchString(m.name) {
			continue
		}
		if _, err := m.overlay(folder); err != nil { // before hours are spent on the others
			return fmt.Errorf("%s: %w", m.name, err)
		}
		chosen = append(chosen, m)
	}
	var survived, tried []string
	for _, m := range chosen {
		tried = append(tried, m.name)
		began := time.Now()
		failed, out, err := m.try(ctx, folder)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if failed == "" {
			survived = append(survived, m.name)
			failed = "SURVIVED " + m.tests
		}
		fmt.Printf("%-60s %s (%.0fs)\n", m.name, failed, time.Since(began).Seconds())
		if verbose {
			fmt.Fprintf(os.Stderr, "%s\n", out)
		}
	}
	switch {
	case len(tried) == 0:
		return errors.New("there is no such break")
	case len(survived) > 0:
		return fmt.Errorf("%d of %d survived: %s", len(survived), len(tried), strings.Join(survived, "; "))
	}
	fmt.Printf("%d breaks, each of them caught\n", len(tried))
	return nil
}

// failure is the line of a test that failed: a test of its own before the one that holds it.
var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// try breaks the code and runs the tests. failed is the test that saw it first; "": none did.
func (m *mutant) try(ctx context.Context, folder string) (failed string, out []byte, err error) {
	overlay, err := m.overlay(folder)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-count=1", "-failfast", "-vet=off", "-timeout=2m",
		"-run", m.tests, m.pkg) //nolint:gosec // from the table
	out, err = cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(string(out), "no tests to run"):
		return "", out, fmt.Errorf("%s has no test %s", m.pkg, m.tests)
	case err == nil:
		return "", out, nil
	case !errors.As(err, &exit):
		return "", out, err
	case strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "[setup failed]"):
		return "", out, fmt.Errorf("it does not build:\n%s", out)
	}
	if name := failure.FindSubmatch(out); name != nil {
		return string(name[1]), out, nil
	}
	if strings.Contains(string(out), "panic: ") || strings.Contains(string(out), "test timed out") {
		return m.tests + " (it does not end, or panics)", out, nil
	}
	return "", out, fmt.Errorf("the tests failed without a name:\n%s", out)
}

// overlay writes the broken copy and what tells the go command about it.
func (m *mutant) overlay(folder string) (string, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", fmt.Errorf("%s has what is to be broken %d times: the table is out of date", m.file, n)
	}
	broken := filepath.Join(folder, "broken.go")
	text := strings.Replace(string(source), m.old, m.new, 1)
	text = strings.Replace(text, "import (\n", "import (\n"+m.imports, 1) + m.more
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil { //nolint:gosec // in a folder of its own
		return "", err
	}
	path, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	content, err := json.Marshal(map[string]map[string]string{"Replace": {path: broken}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(folder, "overlay.json")
	return overlay, os.WriteFile(overlay, content, 0o600)
}
