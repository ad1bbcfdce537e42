package config

import (
	"fmt"
	"strings"
)

// Place is where a value came from: a line of the file, a variable, a flag. The zero Place is nowhere: a default.
type Place struct {
	Name         string // the file, "$GERRITSTREAM_..." or "--flag"
	Line, Column int    // in the file, from 1; else 0
}

// String returns the place as compilers write it: "FILE:LINE:COLUMN", or the name alone.
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

// maxTypo is the longest text that is compared with what it may have been meant to be.
const maxTypo = 64

// nearest returns the candidate that s was probably meant to be, or "" when none is close.
func nearest(s string, candidates []string) string {
	if len(s) > maxTypo {
		return ""
	}
	best, distance := "", max(1, len(s)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(s), strings.ToLower(c)); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// didYouMean returns a half-sentence that names the nearest candidate, or "".
func didYouMean(s string, candidates []string) string {
	if c := nearest(s, candidates); c != "" {
		return fmt.Sprintf("; did you mean %q?", c)
	}
	return ""
}

// editDistance counts the bytes to insert, remove, replace or swap with a neighbour that make b of a.
func editDistance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		prev[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(prev[j]+cost, prev[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
