package main

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrittest"
)

// total counts verdicts.
type total struct{ queued, filtered, dead int }

func (t total) events() int { return t.queued + t.filtered + t.dead }

func (t total) String() string {
	return fmt.Sprintf("%s queued, %s filtered, %s", thousands(t.queued), thousands(t.filtered), plural(t.dead, "dead letter"))
}

// tally is an Observer that counts, and remembers what was filtered: that is no
// row of the database.
type tally struct {
	consumer.NopObserver
	mu       sync.Mutex
	filtered map[place]fate // under mu; a record that was judged twice is in it once
	queued   int            // under mu
	dead     int            // under mu
}

func newTally() *tally { return &tally{filtered: map[place]fate{}} }

// Judged implements gerritstream.Observer.
func (t *tally) Judged(shard gerritstream.ShardID, r *gerritstream.Record, v *gerritstream.Verdict) {
	if v.Bad != "" || v.Filter == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.filtered[place{shard, r.Seq, r.Sub}] = fate{verdict: gerrittest.Filtered, why: v.Filter, kind: v.Event.Type}
}

// Committed implements gerritstream.Observer.
func (t *tally) Committed(_ gerritstream.ShardID, _ uint64, c *gerritstream.Commit, _ time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queued += len(c.Entries)
	t.dead += len(c.DeadLetters)
}

// total is what was counted so far.
func (t *tally) total() total {
	t.mu.Lock()
	defer t.mu.Unlock()
	return total{t.queued, len(t.filtered), t.dead}
}

// dropped returns what was filtered so far.
func (t *tally) dropped() map[place]fate {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.filtered)
}

// thousands writes a number as people read it: 20,000.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	var b strings.Builder
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(digits[i])
	}
	return b.String()
}
