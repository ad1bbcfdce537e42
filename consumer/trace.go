package consumer

import (
	"maps"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/traceparent"
)

// Tracer makes a span of each commit. It is called from several goroutines at
// once, and, like a Span, while a shard waits: neither may block.
type Tracer interface {
	// Commit begins the span of a commit: it goes to the sinks now, then to
	// the store. What came before, reading and judging, is not part of it: it
	// is done ahead, for several commits at once.
	Commit(shard gerritstream.ShardID, term uint64) Span
}

// Span is the time that one commit takes.
type Span interface {
	// Traceparent identifies the span as the header of that name does (W3C
	// Trace Context, version 00); "": it is not sampled. Each entry of the
	// commit carries it as the attribute "traceparent" into the sinks and the
	// queue, unless the Classifier has given the entry such an attribute.
	Traceparent() string

	// Retried: the store wrote nothing and will be asked again, because of err.
	Retried(err error)

	// End ends the span. err is nil exactly if the outcome is Committed. The
	// commit is not kept.
	End(commit *gerritstream.Commit, outcome Outcome, err error)
}

// Outcome is what became of a commit.
type Outcome string

// The outcomes.
const (
	Committed  Outcome = "committed"
	NotWritten Outcome = "not written"
	Unknown    Outcome = "unknown" // the position that the next term begins with shows it
)

// spanWeight is what the attribute adds to an entry's Weight.
const spanWeight = len(traceparent.Attribute) + traceparent.Length + 8

// commitSpan is the span of the commit that is being sent. A nil one does
// nothing: there is no Tracer.
type commitSpan struct {
	span    Span
	outcome Outcome
}

// startSpan begins the span of a commit, and has its entries carry it.
func (r *reader) startSpan(entries []gerritstream.Entry) *commitSpan {
	if r.cfg.Tracer == nil {
		return nil
	}
	s := &commitSpan{span: r.cfg.Tracer.Commit(r.w.shard, r.term.Number()), outcome: NotWritten}
	value := s.span.Traceparent()
	if value == "" {
		return s
	}
	alone := map[string]string{traceparent.Attribute: value} // of all entries that have no other: nobody changes it
	for i := range entries {
		e := &entries[i].Event
		switch _, given := e.Attributes[traceparent.Attribute]; {
		case given:
		case len(e.Attributes) == 0:
			e.Attributes = alone
		default:
			e.Attributes = maps.Clone(e.Attributes)
			e.Attributes[traceparent.Attribute] = value
		}
	}
	return s
}

// became notes what became of the commit so far.
func (s *commitSpan) became(outcome Outcome) {
	if s != nil {
		s.outcome = outcome
	}
}

func (s *commitSpan) retried(err error) {
	if s != nil {
		s.outcome = NotWritten
		s.span.Retried(err)
	}
}

func (s *commitSpan) end(c *gerritstream.Commit, err error) {
	if s != nil {
		s.span.End(c, s.outcome, err)
	}
}
