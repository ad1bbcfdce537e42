package gerritstream

import "time"

// Origin is where a stream begins, decided once, and how often it was
// recreated since.
type Origin struct {
	Stream Stream           `json:"stream"`
	Epoch  int              `json:"epoch"` // one more each time the stream was found recreated
	From   StartingPosition `json:"from"`
	Lost   []Interval       `json:"lost,omitempty"` // what recreations may have cost, oldest first

	// Retention was last listed; zero: it was not. What arrived before Trimmed
	// is gone: a longer retention brings nothing back.
	Retention time.Duration `json:"retention_ns,omitempty"`
	Trimmed   time.Time     `json:"trimmed_before,omitzero"`
}

// Horizon returns the trim horizon at a time of the service: nothing that
// arrived before is kept. Zero: not known.
func (o *Origin) Horizon(now time.Time) time.Time {
	if horizon := now.Add(-o.Retention); o.Retention > 0 && horizon.After(o.Trimmed) {
		return horizon
	}
	return o.Trimmed
}
