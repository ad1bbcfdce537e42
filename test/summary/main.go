// Command summary runs `go test` with its arguments and prints what a person
// wants to see: the result line of each package, the whole output of what
// failed, and at the end the list of what was skipped and why. Arguments behind
// a "--" are those of another `go test`, which runs beside the first: packages
// that need other flags.
//
// With CI=true, and for root, who can install what a test needs, a skipped test
// is a failure.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	s := newSummary(out)
	err := s.runAll(split(args))
	s.printSkipped()
	if err == nil && len(s.skipped) > 0 && skipForbidden() {
		return fmt.Errorf("%d tests were skipped, and with CI=true or as root nothing may be: see `make deps`",
			len(s.skipped))
	}
	return err
}

// split cuts arguments at each "--". What has nothing in it is nothing.
func split(args []string) (groups [][]string) {
	for len(args) > 0 {
		end := slices.Index(args, "--")
		if end < 0 {
			end = len(args)
		}
		if end > 0 {
			groups = append(groups, args[:end])
		}
		args = args[min(end+1, len(args)):]
	}
	return groups
}

// runAll runs a `go test` for each group of arguments, all at once. Each goes
// on to its end, whatever becomes of the others.
func (s *summary) runAll(groups [][]string) error {
	if len(groups) == 0 {
		return errors.New("no packages are given")
	}
	var all sync.WaitGroup
	errs := make([]error, len(groups))
	for i, args := range groups {
		all.Go(func() { errs[i] = s.goTest(args) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// goTest takes the events of one `go test`.
func (s *summary) goTest(args []string) error {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	readErr := s.read(events)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	if readErr != nil {
		return fmt.Errorf("read the events of go test: %w", readErr)
	}
	return nil
}

// skipForbidden is the rule of package peers.
func skipForbidden() bool {
	return os.Getenv("CI") == "true" || os.Geteuid() == 0
}

// reason finds in a skipped test's output what it said: the text behind
// "file.go:12: ".
func reason(output []string) string {
	for _, line := range output {
		if _, text, ok := strings.Cut(strings.TrimSpace(line), ".go:"); ok {
			_, text, _ = strings.Cut(text, ": ")
			return text
		}
	}
	return "no reason given"
}
