package config

import (
	"fmt"
	"strings"

	"github.com/gerritstream/gerritstream/internal/near"
)

// Place is where a value came from: a line of the file, a variable, a flag. The
// zero Place is nowhere: a default.
type Place struct {
	Name         string // the file, "$GERRITSTREAM_..." or "--flag"
	Line, Column int    // in the file, from 1; else 0
}

// String returns the place as compilers write it: "FILE:LINE:COLUMN", or the
// name alone.
func (p Place) String() string {
	if p.Line == 0 {
		return p.Name
	}
	return fmt.Sprintf("%s:%d:%d", p.Name, p.Line, p.Column)
}

// Fault is one thing wrong with a configuration.
type Fault struct {
	Place   Place
	Key     string // of the setting; empty: the fault is not about one
	Problem string // what is wrong and what would be right, in one line and without secrets
}

// Error returns the fault as one line: where, which setting, what is wrong.
func (f Fault) Error() string {
	parts := make([]string, 0, 3)
	if f.Place.Name != "" {
		parts = append(parts, f.Place.String())
	}
	if f.Key != "" {
		parts = append(parts, f.Key)
	}
	return strings.Join(append(parts, f.Problem), ": ")
}

// Faults are all the faults of a configuration, in the order of the places.
type Faults []Fault

// Error returns the faults, a line each.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// err returns the faults as an error: nil when there are none.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}

// add appends a fault.
func (fs *Faults) add(at Place, key, format string, args ...any) {
	*fs = append(*fs, Fault{Place: at, Key: key, Problem: fmt.Sprintf(format, args...)})
}

// didYouMean returns a half-sentence that names the nearest candidate, or "".
func didYouMean(s string, candidates []string) string {
	if c := near.Nearest(s, candidates); c != "" {
		return fmt.Sprintf("; did you mean %q?", c)
	}
	return ""
}
