package admin

import (
	"fmt"
	"strings"

	"github.com/gerritstream/gerritstream"
)

// notReady returns why a process is not ready, a line each; none: it is. A process is ready when it has listed the stream and
// nothing holds up what it leads. Standing by is ready: it can take over at any moment.
func notReady(s *gerritstream.Status) []string {
	var reasons []string
	switch {
	case s.Trouble != "":
		reasons = append(reasons, oneLine(s.Trouble))
	case s.Listed.IsZero():
		reasons = append(reasons, "the stream has not been listed yet")
	}
	for i := range s.Shards {
		shard := &s.Shards[i]
		leads := shard.State == gerritstream.StateReading || shard.State == gerritstream.StateHalted
		if leads && shard.Trouble != "" {
			reasons = append(reasons, fmt.Sprintf("%s: %s", shard.Shard, oneLine(shard.Trouble)))
		}
	}
	return reasons
}

// oneLine puts an error of several lines on one.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// lines ends each text with a line feed.
func lines(texts []string) string { return strings.Join(texts, "\n") + "\n" }
