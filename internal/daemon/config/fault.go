package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/near"
)

// Place is where a value came from: a line of a file, a variable, a flag. The
// zero Place is nowhere: a default.
type Place struct {
	Name         string // the file, "$GERRITSTREAM_..." or "--flag"
	Line, Column int    // in the file, from 1; else 0
}

// String returns the place as compilers write it, "FILE:LINE:COLUMN", or the
// name alone.
func (p Place) String() string {
	if p.Line == 0 {
		return p.Name
	}
	return fmt.Sprintf("%s:%d:%d", p.Name, p.Line, p.Column)
}

// Fault is one mistake in a configuration.
type Fault struct {
	Place   Place
	Key     string // of the setting; empty: the fault is not about one
	Problem string // what is wrong and what would be right, in one line and without secrets
}

// Error returns the fault as one line: place, setting, problem.
func (f Fault) Error() string {
	var parts []string
	for _, part := range []string{f.Place.String(), f.Key, f.Problem} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Faults are all mistakes in a configuration, in the order of their places.
type Faults []Fault

// Error returns the faults, a line each.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// err returns the faults as an error; nil: there are none.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}

func (fs *Faults) add(at Place, key, format string, args ...any) {
	*fs = append(*fs, Fault{Place: at, Key: key, Problem: fmt.Sprintf(format, args...)})
}

// about reports whether one of the faults is about a setting.
func (fs Faults) about(key string) bool {
	return slices.ContainsFunc(fs, func(f Fault) bool { return f.Key == key })
}

// didYouMean returns half a sentence that names the nearest candidate, or "".
func didYouMean(s string, candidates []string) string {
	if c := near.Nearest(s, candidates); c != "" {
		return fmt.Sprintf("; did you mean %q?", c)
	}
	return ""
}

// maxDoubts limits how many doubts are reported.
const maxDoubts = 10

// Doubts returns what is allowed and probably a mistake: a sentence each,
// without secrets.
func (c *Config) Doubts() []string {
	found := c.Filter.Doubts()
	var doubts []string
	if c.exposed {
		doubts = append(doubts, "store: every user of this host can read the password on the command line; "+
			"have it in a password file (PGPASSFILE), or use postgres.password_command")
	}
	entries := found[:min(len(found), maxDoubts)]
	for _, d := range entries {
		entry := gerrit.Text([]byte(d.Entry.Text))
		why := "is the type of no event that Gerrit or a widespread plugin writes" + didYouMean(entry, gerrit.Types())
		if d.Dropped {
			why = fmt.Sprintf("keeps nothing: the preset %s drops such events", c.Filter.Preset)
		}
		doubts = append(doubts, fmt.Sprintf("filter.types: %q %s", entry, why))
	}
	if more := len(found) - len(entries); more > 0 {
		doubts = append(doubts, fmt.Sprintf("filter.types: %d more entries like these", more))
	}
	return doubts
}

// strayVariables returns a note for each variable that was probably meant to be
// a setting: its name is near a setting's, or made of its flag's. Values are
// not quoted.
func (l *loader) strayVariables(env map[string]string) (notes []string) {
	// meant holds variables by what was probably written for them.
	meant := map[string]string{"CONFIG": EnvPrefix + "CONFIG", "ZUUL_CONF": EnvPrefix + "ZUUL_CONF"}
	for i := range l.settings {
		s := &l.settings[i]
		meant[strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_"))] = s.Env()
	}
	for i := range l.settings { // after the flags: a setting's own name counts over them
		meant[strings.TrimPrefix(l.settings[i].Env(), EnvPrefix)] = l.settings[i].Env()
	}
	names := slices.Sorted(maps.Keys(meant))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		word, ours := strings.CutPrefix(name, EnvPrefix)
		if !ours || meant[word] == name || injected(word) {
			continue
		}
		if like := near.Nearest(word, names); like != "" && len(notes) < maxDoubts {
			notes = append(notes, fmt.Sprintf("$%s is not a setting; did you mean $%s?", name, meant[like]))
		}
	}
	return notes
}

// injected reports whether Kubernetes makes variables with this ending for a
// service whose name begins with "gerritstream".
func injected(word string) bool {
	word = "_" + word + "_"
	return strings.HasSuffix(word, "_SERVICE_HOST_") || strings.Contains(word, "_PORT_")
}
