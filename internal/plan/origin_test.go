package plan_test

import (
	"encoding/json"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// The trim horizon, by the origin and a listing: what had expired before
// the retention was raised stays gone.
func TestHorizon(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	stream := gs.Stream{ARN: "arn", Created: now.Add(-100 * day)}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, tc := range map[string]struct {
		origin *gs.Origin
		listed time.Duration
		want   time.Time
	}{
		"no origin":                     {nil, day, ago(day)},
		"an origin without a retention": {&gs.Origin{Stream: stream}, day, ago(day)},
		"unchanged":                     {&gs.Origin{Stream: stream, Retention: day}, day, ago(day)},
		"raised":                        {&gs.Origin{Stream: stream, Retention: day}, 7 * day, ago(day)},
		"lowered":                       {&gs.Origin{Stream: stream, Retention: 7 * day}, day, ago(day)},
		"raised before": {&gs.Origin{Stream: stream, Retention: 7 * day, Trimmed: ago(2 * day)},
			7 * day, ago(2 * day)},
		"raised long ago": {&gs.Origin{Stream: stream, Retention: 7 * day, Trimmed: ago(9 * day)},
			7 * day, ago(7 * day)},
		"raised before, and raised": {&gs.Origin{Stream: stream, Retention: 7 * day, Trimmed: ago(2 * day)},
			30 * day, ago(2 * day)},
		"raised long before, and raised": {&gs.Origin{Stream: stream, Retention: 7 * day, Trimmed: ago(9 * day)},
			30 * day, ago(7 * day)},
		"raised before, then lowered": {&gs.Origin{Stream: stream, Retention: 7 * day, Trimmed: ago(2 * day)}, day,
			ago(day)},
		"of a stream that was recreated": {&gs.Origin{Stream: gs.Stream{ARN: "arn"}, Retention: day}, 7 * day,
			ago(7 * day)},
	} {
		t.Run(name, func(t *testing.T) {
			var before string
			if tc.origin != nil {
				text, err := json.Marshal(tc.origin)
				if err != nil {
					t.Fatal(err)
				}
				before = string(text)
			}
			if got := plan.Horizon(tc.origin,
				gs.Listing{Stream: stream, Retention: tc.listed, Now: now}); !got.Equal(tc.want) {
				t.Errorf("horizon %s ago, want %s ago", now.Sub(got), now.Sub(tc.want))
			}
			if text, err := json.Marshal(tc.origin); tc.origin != nil && (err != nil || string(text) != before) {
				t.Errorf("the origin was changed: %s, was %s", text, before)
			}
		})
	}
}
