package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/near"
)

// maxDoubts is how many doubts are told.
const maxDoubts = 10

// Doubts returns what is allowed and probably not meant: a sentence each,
// without secrets.
func (c *Config) Doubts() []string {
	found := c.Filter.Doubts()
	var doubts []string
	for _, d := range found[:min(len(found), maxDoubts)] {
		entry := gerrit.Text([]byte(d.Entry.Text))
		if d.Dropped {
			doubts = append(doubts, fmt.Sprintf("filter.types: %q keeps nothing: the preset %s drops such events", entry, c.Filter.Preset))
			continue
		}
		doubts = append(doubts, fmt.Sprintf("filter.types: %q is the type of no event that Gerrit or a widespread plugin writes%s",
			entry, didYouMean(entry, gerrit.Types())))
	}
	if more := len(found) - len(doubts); more > 0 {
		doubts = append(doubts, fmt.Sprintf("filter.types: %d more entries like these", more))
	}
	return doubts
}

// strayVariables returns a note for each variable that was probably meant to be
// a setting: one whose name is near a setting's, or made of its flag's. Values
// are not told.
func strayVariables(env map[string]string) []string {
	meant := map[string]string{} // what follows the prefix, to the variable
	for i := range settings {
		s := &settings[i]
		meant[strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_"))] = s.Env()
	}
	for i := range settings { // after the flags: a setting's own name counts over them
		meant[strings.TrimPrefix(settings[i].Env(), EnvPrefix)] = settings[i].Env()
	}
	for _, source := range []string{"CONFIG", "ZUUL_CONF"} {
		meant[source] = EnvPrefix + source
	}
	names := slices.Sorted(maps.Keys(meant))
	var notes []string
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

// injected reports whether Kubernetes makes variables that end so for a service
// whose name begins with "gerritstream".
func injected(word string) bool {
	word = "_" + word
	return strings.HasSuffix(word, "_SERVICE_HOST") || strings.HasSuffix(word, "_PORT") || strings.Contains(word, "_PORT_")
}
