package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream/gerrittest"
)

// demoResult is what a demonstration with a number of events comes to.
type demoResult struct {
	Published    int `json:"published"`     // records that the stream acknowledged
	Queued       int `json:"queued"`        // events found in the database
	Filtered     int `json:"filtered"`      // records that a rule dropped, and that the stored positions have passed
	DeadLettered int `json:"dead_lettered"` // dead letters found in the database
	*compared
	Shards   int            `json:"shards"` // those that the stream began with and those that were made of them
	Seconds  float64        `json:"seconds"`
	Types    map[string]int `json:"types,omitempty"` // found, queued or filtered, by type
	Database string         `json:"database"`

	Interrupted bool `json:"interrupted,omitempty"` // nothing was compared, and the counts are what it had come to
}

// compared is what a comparison found wrong.
type compared struct {
	Lost       int `json:"lost"`       // published, and not found
	Duplicated int `json:"duplicated"` // found once more than once
	Misjudged  int `json:"misjudged"`  // found, but with another verdict, rule, reason or type
	Unexpected int `json:"unexpected"` // found, and never published
}

// result is what it has come to. compared is nil when it was interrupted.
func (c *counted) result(is *comparison) *demoResult {
	t := c.tally.total()
	r := &demoResult{
		Published: int(c.producer.published.Load()),
		Queued:    t.queued, Filtered: t.filtered, DeadLettered: t.dead,
		Shards:      c.shards,
		Seconds:     math.Round(time.Since(c.began).Seconds()*1000) / 1000,
		Database:    c.database,
		Interrupted: is == nil,
	}
	if shards, err := c.stream.server.Shards(demoStreamName); err == nil { // it is there
		r.Shards = len(shards)
	}
	if is != nil {
		r.compared = &compared{is.lost, is.duplicated, is.misjudged, is.unexpected}
	}
	return r
}

// count takes the counts from what was found.
func (r *demoResult) count(found findings) {
	r.Queued, r.Filtered, r.DeadLettered, r.Types = 0, 0, 0, map[string]int{}
	for _, fates := range found {
		for _, f := range fates {
			switch f.verdict {
			case gerrittest.Queued:
				r.Queued++
			case gerrittest.Filtered:
				r.Filtered++
			case gerrittest.DeadLetter:
				r.DeadLettered++
				continue
			}
			r.Types[f.kind]++
		}
	}
}

// show writes the result.
func (c *counted) show(r *demoResult) error {
	write := r.writeText
	if c.json {
		write = r.writeJSON
	}
	if err := write(c.stdout); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func (r *demoResult) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// writeText writes the result for a person, with what to do next.
func (r *demoResult) writeText(w io.Writer) error {
	var b strings.Builder
	line := func(name string, count int, comment string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-12s %8s  %s", name, thousands(count), comment), " ") + "\n")
	}
	line("published", r.Published, fmt.Sprintf("records that the stream acknowledged, in %.1f s", r.Seconds))
	line("queued", r.Queued, "events in the database")
	line("filtered", r.Filtered, "dropped by a rule, as Zuul does")
	line("dead letters", r.DeadLettered, "bad records, put aside with the reason")
	if r.compared != nil {
		line("lost", r.Lost, "")
		line("duplicated", r.Duplicated, "")
		line("misjudged", r.Misjudged, "")
		line("unexpected", r.Unexpected, "")
		line("shards", r.Shards, "with those made half-way")
		line("types", len(r.Types), fmt.Sprintf("of the %d that are made up", len(gerrittest.Types())))
	}
	switch {
	case r.Interrupted:
		b.WriteString("\nInterrupted: nothing was compared.\n")
	case *r.compared == compared{}:
		b.WriteString("\nEvery record that the stream acknowledged was found once, with the right verdict.\n")
	}
	b.WriteString(nextSteps(r.Database))
	_, err := io.WriteString(w, b.String())
	return err
}

// nextSteps are the commands to try next.
func nextSteps(database string) string {
	return fmt.Sprintf(`
Next:
  sqlite3 %[1]s 'SELECT type, count(*) FROM events GROUP BY type'
  gerritstream status --store sqlite:%[1]s
  gerritstream demo --events 20000
  gerritstream run --stream NAME --region REGION    # your own stream
`, database)
}
