package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
)

// event is one line of `go test -json`: see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string
	Output     string
}

// test names one test of one package; the package itself has an empty name.
type test struct{ pkg, name string }

// summary prints results as they come.
type summary struct {
	mu      sync.Mutex // of all below, while anything runs
	out     io.Writer
	output  map[test][]string // of what is not done yet
	started map[string][]string
	skipped []skip
	passed  int
}

type skip struct {
	test
	reason string
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: map[test][]string{}, started: map[string][]string{}}
}

// read takes events until they end. A line that is no event is printed as it
// is.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				s.print(line)
			} else {
				s.take(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) print(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%s", line)
}

func (s *summary) take(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "output":
		s.output[t] = append(s.output[t], e.Output)
	case "run":
		s.started[e.Package] = append(s.started[e.Package], e.Test)
	case "pass", "skip", "fail":
		if e.Test == "" {
			s.endPackage(e)
		} else {
			s.endTest(t, e.Action)
		}
	}
}

// endTest keeps the output of a failed test until its package ends, so that all
// of a package's failures stand together.
func (s *summary) endTest(t test, action string) {
	switch action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped = append(s.skipped, skip{t, reason(s.output[t])})
	case "fail":
		return
	}
	delete(s.output, t)
}

// endPackage prints what is left: the output of tests that failed or never
// ended, and the package's own lines.
func (s *summary) endPackage(e event) {
	for _, name := range s.started[e.Package] {
		t := test{e.Package, name}
		if e.Action == "fail" {
			fmt.Fprint(s.out, strings.Join(s.output[t], ""))
		}
		delete(s.output, t)
	}
	delete(s.started, e.Package)
	t := test{pkg: e.Package}
	for _, line := range s.output[t] {
		if line != "PASS\n" {
			fmt.Fprint(s.out, line)
		}
	}
	delete(s.output, t)
}

// printSkipped lists what was skipped; when nothing was, the results of the
// packages are the last lines.
func (s *summary) printSkipped() {
	if len(s.skipped) == 0 {
		return
	}
	fmt.Fprintf(s.out, "%d tests passed, %d skipped:\n", s.passed, len(s.skipped))
	for _, skip := range s.skipped {
		fmt.Fprintf(s.out, "  %s %s: %s\n", skip.pkg, skip.name, skip.reason)
	}
}
