// Command summary runs `go test` with its arguments and prints what a person wants to see: the result line of each package,
// the whole output of what failed, and at the end the list of what was skipped and why.
//
// With CI=true, and for root, who can install what a test needs, a skipped test is a failure.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	s := newSummary(out)
	readErr := s.read(events)
	if err := cmd.Wait(); err != nil {
		s.printSkipped()
		return fmt.Errorf("run go test: %w", err)
	}
	if readErr != nil {
		return fmt.Errorf("read the events of go test: %w", readErr)
	}
	s.printSkipped()
	if len(s.skipped) > 0 && skipForbidden() {
		return fmt.Errorf("%d tests were skipped, and with CI=true or as root nothing may be: see `make deps`", len(s.skipped))
	}
	return nil
}

// skipForbidden is the rule of package peers.
func skipForbidden() bool {
	return os.Getenv("CI") == "true" || os.Geteuid() == 0
}

// reason finds in a skipped test's output what it said: the text behind "file.go:12: ".
func reason(output []string) string {
	for _, line := range output {
		if _, text, ok := strings.Cut(strings.TrimSpace(line), ".go:"); ok {
			_, text, _ = strings.Cut(text, ": ")
			return text
		}
	}
	return "no reason given"
}
