// Package storekit holds what every store would otherwise write again.
package storekit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Point is a place at which a store writes for its caller.
type Point string

// The write points of a Store.
const (
	PointSetOrigin Point = "set origin"
	PointCampaign  Point = "campaign" // taking a leadership that is free
	PointCommit    Point = "commit"
	PointResign    Point = "resign"
	PointReport    Point = "report"
	PointAdvertise Point = "advertise"
	PointConsumers Point = "consumers" // what a queue.Store writes
	PointWebhooks  Point = "webhooks"  // what a webhook.Store writes besides
	PointPauses    Point = "pauses"    // of an Operator as well
)

// The write points of an Operator.
const (
	PointSetPosition     Point = "set position"
	PointRemovePositions Point = "remove positions"
	PointDropDeadLetters Point = "drop dead letters"
	PointRedrive         Point = "redrive"
)

// Intercept wraps every write of a store, so that tests can make it fail; nil
// wraps nothing.
type Intercept func(p Point, write func() error) error

// Write runs write, which belongs to a point.
func (i Intercept) Write(p Point, write func() error) error {
	if i == nil {
		return write()
	}
	return i(p, write)
}

// Signal wakes one goroutine, which receives from it. Any number of calls of
// Set before the goroutine receives wake it once.
type Signal chan struct{}

// NewSignal returns a signal that is not set.
func NewSignal() Signal { return make(Signal, 1) }

// Set wakes the goroutine. It does not block.
func (s Signal) Set() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Sleep waits for d and reports whether it did: it returns early when ctx ends.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// FromMillis returns the time that is stored as milliseconds since 1970.
func FromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// DeadLetterRoom is how much a store keeps of dead letters, of all shards
// together.
type DeadLetterRoom struct {
	Held  int // how many
	Bytes int // of their payloads
}

// Admit counts a dead letter in and returns true if there is room for it.
func (r *DeadLetterRoom) Admit(d *gerritstream.DeadLetter) bool {
	if r.Held >= gerritstream.MaxDeadLetters || r.Bytes+len(d.Payload) > gerritstream.MaxDeadLetterStorage {
		return false
	}
	r.Held, r.Bytes = r.Held+1, r.Bytes+len(d.Payload)
	return true
}

// SetPayload sets what a dead letter holds of a record: as much as is kept, and
// the length and digest of all of it.
func SetPayload(d *gerritstream.DeadLetter, record []byte) {
	d.Payload = record[:min(len(record), gerritstream.MaxDeadLetterBytes)]
	d.Length, d.SHA256 = len(record), sha256.Sum256(record)
}

// DecodeMember reads what a process advertised. A process whose info cannot be
// understood is a member all the same.
func DecodeMember(id string, info []byte) gerritstream.Member {
	m := gerritstream.Member{ID: id}
	if err := json.Unmarshal(info, &m.Info); err != nil {
		m.Info, m.Damaged = gerritstream.MemberInfo{}, fmt.Errorf("read member info of %s: %w", id, err)
	}
	return m
}
