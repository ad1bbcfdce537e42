package gerritstream

import "time"

// Origin says, once per stream, where it begins, and counts how often it was
// made anew.
type Origin struct {
	Stream Stream           `json:"stream"`
	Epoch  int              `json:"epoch"` // 0, and one more each time the stream was found recreated
	From   StartingPosition `json:"from"`
	Lost   []Interval       `json:"lost,omitempty"` // what recreations may have cost, oldest first

	// Retention is how long the stream keeps a record, as listed last. Zero: a
	// version that did not store it wrote the record.
	Retention time.Duration `json:"retention_ns,omitempty"`

	// Trimmed is a moment: what arrived before it is gone, however long the
	// stream keeps records now. A retention that is raised brings nothing back.
	Trimmed time.Time `json:"trimmed_before,omitzero"`
}

// Horizon returns the trim horizon at a time of the service: the stream keeps
// nothing that arrived before. Zero: not known.
func (s *Origin) Horizon(now time.Time) time.Time {
	if s.Retention == 0 {
		return s.Trimmed
	}
	if horizon := now.Add(-s.Retention); horizon.After(s.Trimmed) {
		return horizon
	}
	return s.Trimmed
}

// StartAt is where a stream begins that no process has followed yet.
type StartAt struct {
	// TrimHorizon: with the oldest record kept. Otherwise with what arrives
	// from Time on, and with a zero Time, from about 10 s before now on; beside
	// another program that leads a shard, from now on.
	TrimHorizon bool
	Time        time.Time
}
