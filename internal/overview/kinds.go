package overview

import (
	"regexp"
	"slices"

	"github.com/gerritstream/gerritstream/internal/trouble"
)

// kind is what is said of a kind of cause.
type kind struct {
	name  string // in a few words
	help  string // a section of docs/runbook.md
	text  string // of what is wrong; empty: the text that was found
	waits bool   // a shard that it concerns waits for it to pass
}

// The kinds of cause that are found here, besides those that processes tell.
const (
	notRead        trouble.Kind = "not-read"
	openAfterEnd   trouble.Kind = "open-after-end"
	unreadable     trouble.Kind = "position-unreadable"
	noCommit       trouble.Kind = "no-commit"
	foreignLeads   trouble.Kind = "foreign-leader"
	foreignStopped trouble.Kind = "foreign-leader-stopped"
	processGone    trouble.Kind = "process-gone"
	processStuck   trouble.Kind = "process-stuck"
	configDiffers  trouble.Kind = "configured-differently"
	deadLetterRate trouble.Kind = "dead-letters"
)

// kinds is never written to.
var kinds = map[trouble.Kind]kind{
	trouble.QueueFull: {"queue full", "queue-full", "Zuul's queue is full", true},
	trouble.Throttled: {"throttled", "throttled",
		"Kinesis throttles the reads, perhaps because another program reads the stream too", true},
	trouble.AccessDenied: {"access denied", "access-denied", "Kinesis refuses access", true},
	trouble.StreamGone:   {"stream gone", "stream-gone", "The stream is gone", true},
	trouble.SourceAway:   {"Kinesis away", "kinesis-away", "Kinesis does not answer", true},
	trouble.SourceFails:  {"Kinesis fails", "kinesis-away", "Kinesis fails", true},
	trouble.StoreAway:    {"store away", "store-away", "", true},
	trouble.Sink:         {"sink", "sink", "A sink does not take events", true},
	trouble.Halted:       {"halted", "halted", "A bad position waits for a decision", true},
	trouble.Stalled: {"stalled", "stalled",
		"Nothing was read for some seconds, and it is not known yet why", true},
	noCommit:       {"stalled", "stalled", "Nothing is committed, and it is not known why", true},
	notRead:        {"not read", "shard-not-read", "No process reads some of the stream", false},
	openAfterEnd:   {"not read", "shard-not-read", "", false},
	unreadable:     {"position unreadable", "position-unreadable", "", false},
	foreignStopped: {"foreign leader stopped", "foreign-leader", "", false},
	foreignLeads:   {"foreign leader", "foreign-leader", "Zuul's own listener reads", false},
	processGone:    {"process gone", "process-gone", "gone", false},
	processStuck:   {"process stuck", "process-gone", "", false},
	configDiffers:  {"configured differently", "other-trouble", "Configured differently from the others", false},
	deadLetterRate: {"dead letters", "dead-letters", "", false},
}

// byText recognises the trouble of processes that do not tell its kind yet, by
// their texts, in this order: first those that quote an error in any words. It
// is never written to.
var byText = []struct {
	kind  trouble.Kind
	match *regexp.Regexp
}{
	{trouble.Halted, regexp.MustCompile(`^halted`)},
	{trouble.Stalled, regexp.MustCompile(`^waiting for a page`)},
	{trouble.Sink, regexp.MustCompile(`^((retrying: )?deliver to |waiting for the sink )`)},
	{trouble.QueueFull, regexp.MustCompile(`queue is full`)},
	{trouble.Throttled, regexp.MustCompile(`(?i)(throttl|ThroughputExceeded|LimitExceeded|TooManyRequests)`)},
	{trouble.AccessDenied, regexp.MustCompile(
		`(?i)(AccessDenied|access denied|does not grant|UnrecognizedClient|ExpiredToken|Signature|InvalidClientToken|` +
			`credentials|RequestTimeTooSkewed|AuthFailure|NotAuthorized)`)},
	{trouble.StreamGone, regexp.MustCompile(`(?i)(the stream is gone|stream not found|ResourceNotFound)`)},
	{trouble.SourceAway, regexp.MustCompile(`(?i)kinesis:.*(dial|connect|timeout|timed out|deadline|EOF|` +
		`reset|no such host|no route|TLS|unreachable|without progress|proxyconnect)`)},
	{trouble.SourceFails, regexp.MustCompile(`kinesis:`)},
	{trouble.StoreAway, regexp.MustCompile(`(?i)(zookeeper|zk:|session .*over|database|sqlite|disk|for the store)`)},
}

// known returns a kind as it was told, or else as a text has it; empty: neither
// is known.
func known(told trouble.Kind, text string) trouble.Kind {
	if _, ok := kinds[told]; ok {
		return told
	}
	for _, t := range byText {
		if t.match.MatchString(text) {
			return t.kind
		}
	}
	return ""
}

// kindOf returns what is said of a kind.
func kindOf(k trouble.Kind) kind {
	if found, ok := kinds[k]; ok {
		return found
	}
	return kind{name: "trouble", help: "other-trouble"}
}

// ofSource reports whether a kind means that nothing comes from Kinesis.
func ofSource(k trouble.Kind) bool {
	return slices.Contains([]trouble.Kind{
		trouble.Throttled, trouble.AccessDenied, trouble.StreamGone, trouble.SourceAway, trouble.SourceFails,
	}, k)
}

// Sections returns the sections of docs/runbook.md that Cause.Help can name.
func Sections() []string {
	all := []string{
		"all-processes-gone", "store-away", "headroom", "possibly-lost", "expired-unread", "write-ahead-log",
		"consumer", "webhook", "paused", "other-trouble",
	}
	for _, k := range kinds {
		all = append(all, k.help)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
