package admin

import (
	"strings"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// notReady returns why a process is not ready, a line for each cause; none: it
// is. A process is ready when it has listed the stream and nothing holds up
// what it leads. Standing by is ready: it can take over at any moment.
func notReady(s *gerritstream.Status) []string {
	var reasons []string
	if s.Trouble == "" && s.Listed.IsZero() {
		reasons = append(reasons, "the stream has not been listed yet")
	}
	for _, t := range trouble.Of(s) {
		reasons = append(reasons, t.String())
	}
	return reasons
}

// lines ends each text with a line feed.
func lines(texts []string) string { return strings.Join(texts, "\n") + "\n" }
