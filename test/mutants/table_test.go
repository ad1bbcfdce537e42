package main

import (
	"regexp"
	"testing"
)

// TestEveryBreakFits: each row finds its lines in its file, once, so that a
// change of the code is noticed here and not after an hour of breaks.
func TestEveryBreakFits(t *testing.T) {
	t.Chdir("../..")
	chosen, err := choose(regexp.MustCompile(""), t.TempDir())
	if err != nil {
		t.Error(err)
	}
	if len(chosen) == 0 {
		t.Error("the table is empty")
	}
	names := map[string]bool{}
	for _, m := range chosen {
		if names[m.name] {
			t.Errorf("there are two breaks of the name %q", m.name)
		}
		names[m.name] = true
	}
}
