package soak

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
)

// TestResultHasEveryField checks the names in the printed object.
func TestResultHasEveryField(t *testing.T) {
	n := &nemesis{s: &soak{faults: map[string]int{"kill": 2, "cut": 3, "half cut": 1, "slow": 5}}, faults: []fault{
		{name: "kill", class: classKill}, {name: "cut", class: classCut}, {name: "half cut",
			class: classCut}, {name: "slow"},
	}}
	out, err := json.Marshal(result{
		Totals: n.totals(), Faults: n.s.faults,
		Report: history.Report{LongestPause: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(out, &object); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"put", "queued", "filtered", "dead_lettered", "lost", "duplicated", "disordered", "faults", "totals", "longest_pause_ns", "seed", "store",
	} {
		if _, ok := object[name]; !ok {
			t.Errorf("%q is not in %s", name, out)
		}
	}
	totals, _ := object["totals"].(map[string]any)
	if totals[classKill] != 2. || totals[classCut] != 4. || len(totals) != 2 {
		t.Errorf("totals %v", totals)
	}
}

// TestWhatFailsASoak: each count alone, and a fault that never took effect.
func TestWhatFailsASoak(t *testing.T) {
	good := func() *result {
		return &result{Faults: map[string]int{"kill": 1}, Report: history.Report{Put: 2, Queued: 1}}
	}
	if why := good().faulty(); len(why) > 0 {
		t.Errorf("a good soak fails: %q", why)
	}
	for want, spoil := range map[string]func(*result){
		"1 lost":           func(r *result) { r.Lost = 1 },
		"1 duplicated":     func(r *result) { r.Duplicated = 1 },
		"1 disordered":     func(r *result) { r.Disordered = 1 },
		"1 other promises": func(r *result) { r.Broken = 1 },
		`["freeze"]`:       func(r *result) { r.NoEffect = withoutEffect(map[string]int{"kill": 1, "freeze": 0}) },
		"nothing happened": func(r *result) { r.Queued = 0 },
	} {
		r := good()
		spoil(r)
		if why := strings.Join(r.faulty(), "\n"); !strings.Contains(why, want) {
			t.Errorf("%q does not contain %q", why, want)
		}
	}
}
