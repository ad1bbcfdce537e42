// Command mutants breaks the program's guarantees on purpose, one at a time,
// and runs the tests that should see it. It prints each break with the test
// that failed, and fails if one survives: a guarantee that no test holds.
//
//	go run ./test/mutants [-run REGEXP] [-p N] [-v]
//
// The sources are left alone: a broken copy of a file is put in its place by
// the go command's -overlay.
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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	var o options
	flag.StringVar(&o.only, "run", "", "break only what this regular expression `matches`")
	flag.IntVar(&o.parallel, "p", runtime.NumCPU(), "try this `many` at once")
	flag.BoolVar(&o.verbose, "v", false, "show what the tests say")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

type options struct {
	only     string
	parallel int
	verbose  bool
}

// mutant is one break: in a file, some lines become others; and the tests of a
// package that are to fail then.
type mutant struct {
	name     string // what is broken, in a few words
	file     string // from the repository's root
	old, new string // old is there exactly once
	imports  string // added to its imports
	more     string // added at its end
	pkg      string // whose tests are run: one or more, "./sqlite"
	tests    string // which of them, as -run takes it
}

func run(ctx context.Context, o options) error {
	match, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	chosen, err := choose(match, folder)
	if err != nil {
		return err
	}
	var results results
	var trying errgroup.Group
	trying.SetLimit(o.parallel)
	for i, m := range chosen {
		trying.Go(func() error {
			results.add(&m, m.try(ctx, filepath.Join(folder, strconv.Itoa(i))), o.verbose)
			return nil
		})
	}
	_ = trying.Wait() // what went wrong is among the results
	return results.verdict()
}

// choose returns the breaks that are asked for. Each still fits its file: that
// is looked at before hours are spent on the others.
func choose(match *regexp.Regexp, folder string) (chosen []mutant, err error) {
	for _, m := range slices.Concat(
		mutants,
		kinesisMutants,
		kinesisClientMutants,
		fanOutMutants,
		benchMutants,
		zookeeperMutants,
		groupMutants,
		silentMutants,
		leaseMutants, sqliteMutants, pauseMutants, queueMutants, apiMutants, consumerMutants, replayMutants, acknowledgingMutants, arrivalMutants,
		webhookStoreMutants,
		webhookMutants,
		postgresMutants,
		traceMutants,
		postgresQueueMutants, moveMutants,
		pageMutants,
		alertMutants,
		programMutants,
		configCheckMutants,
		gerritMutants,
	) {
		if !match.MatchString(m.name) {
			continue
		}
		if _, stale := m.overlay(filepath.Join(folder, "fits")); stale != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", m.name, stale))
		}
		chosen = append(chosen, m)
	}
	return chosen, err
}

// outcome is what became of one break.
type outcome struct {
	failed string // the test that saw it first; empty: none did
	output []byte // of the tests
	took   time.Duration
	err    error // it could not be tried
}

// results gathers the outcomes, and prints each as it comes.
type results struct {
	mu                      sync.Mutex
	tried, survived, failed []string
}

func (r *results) add(m *mutant, o outcome, verbose bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = append(r.tried, m.name)
	saw := o.failed
	switch {
	case o.err != nil:
		saw = "NOT TRIED"
		r.failed = append(r.failed, fmt.Sprintf("%s: %v", m.name, o.err))
	case saw == "":
		saw = "SURVIVED " + m.tests
		r.survived = append(r.survived, m.name)
	}
	fmt.Printf("%-60s %s (%.0fs)\n", m.name, saw, o.took.Seconds())
	if verbose {
		fmt.Fprintf(os.Stderr, "%s\n", o.output)
	}
}

func (r *results) verdict() error {
	switch {
	case len(r.tried) == 0:
		return errors.New("there is no such break")
	case len(r.failed)+len(r.survived) > 0:
		return fmt.Errorf("of %d, %d survived: %s; %d could not be tried:\n%s", len(r.tried), len(r.survived),
			strings.Join(r.survived, "; "), len(r.failed), strings.Join(r.failed, "\n"))
	}
	fmt.Printf("%d breaks, each of them caught\n", len(r.tried))
	return nil
}

// failure is the line of a test that failed: a test of its own before the one
// that holds it.
var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// try breaks the code and runs the tests.
func (m *mutant) try(ctx context.Context, folder string) (o outcome) {
	began := time.Now()
	o.failed, o.output, o.err = m.runTests(ctx, folder)
	o.took = time.Since(began)
	return o
}

func (m *mutant) runTests(ctx context.Context, folder string) (failed string, out []byte, err error) {
	overlay, err := m.overlay(folder)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	args := []string{"test", "-overlay", overlay, "-count=1", "-failfast", "-vet=off", "-timeout=2m", "-run", m.tests}
	cmd := exec.CommandContext(ctx, "go", append(args, strings.Fields(m.pkg)...)...) //nolint:gosec // from the table
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
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
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
