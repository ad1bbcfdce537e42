package config

import (
	"fmt"

	"github.com/gerritstream/gerritstream/gerrit"
)

// maxDoubts is how many doubts are told.
const maxDoubts = 10

// Doubts returns what is allowed and probably not meant: a sentence each, without secrets.
func (c *Config) Doubts() []string {
	found := c.Filter.Gerrit().Doubts()
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
