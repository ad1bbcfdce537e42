package consumer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

const (
	lastsFor   = 30 * time.Second // trouble that may pass counts when it lasts this long
	lagGrowth  = 30 * time.Second // or when the shard's lag grows this much meanwhile
	calmAfter  = 10 * time.Second // a growing lag is not blamed on trouble last met longer ago
	stallFades = time.Minute      // how long trouble of a shard that is not led any more is remembered

	pageWithin = 90 * time.Second // how long a healthy source takes for a page at most: a poll interval and a retry
)

// why says what stalls something.
type why struct {
	text string // empty: nothing does
	kind trouble.Kind
}

// whyOf says it of an error, whose kind is the usual one where it was met,
// unless it tells another.
func whyOf(err error, usual trouble.Kind) why { return why{err.Error(), trouble.KindOf(err, usual)} }

// stall is trouble that a shard, or the whole process, has met. Requests that
// are throttled or fail now and then are normal: trouble counts, for Status,
// once it lasts, once the shard's lag grows with it, or if it is grave.
type stall struct {
	why   why           // the newest
	grave bool          // it will not pass by itself
	since time.Time     // of the first since the last progress; zero: there was progress
	last  time.Time     // when it was met last
	lag   time.Duration // of the shard when it began
}

// isGrave reports whether trouble does not pass by itself.
func isGrave(err error) bool {
	return errors.Is(err, gerritstream.ErrDenied) || errors.Is(err, gerritstream.ErrUnusable) ||
		errors.Is(err, gerritstream.ErrStreamNotFound) || errors.Is(err, gerritstream.ErrNewerFormat)
}

// met notes trouble.
func (s *stall) met(found why, grave bool, lag time.Duration, now time.Time) {
	if s.since.IsZero() {
		if now.Sub(s.last) >= calmAfter {
			s.lag = lag
		}
		s.since = now
	}
	s.lag = min(s.lag, lag)
	s.why, s.grave, s.last = found, grave, now
}

// passed notes progress.
func (s *stall) passed() { s.since, s.grave = time.Time{}, false }

// counts reports whether to show the trouble.
func (s *stall) counts(lag time.Duration, now time.Time) bool {
	if s.since.IsZero() {
		return now.Sub(s.last) < calmAfter && lag-s.lag >= lagGrowth
	}
	return s.grave || now.Sub(s.since) >= lastsFor || lag-s.lag >= lagGrowth
}

// isRecent reports whether the trouble was met not long ago, in this term or in
// one before.
func (s *stall) isRecent(now time.Time) bool { return now.Sub(s.last) < stallFades }

// met notes trouble of a shard, or of the whole process (empty id), and reports
// whether it counts.
func (t *tracker) met(id gerritstream.ShardID, found why, grave bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if id == "" {
		t.stall.met(found, grave, 0, now)
		return t.stall.counts(0, now)
	}
	s := t.shardLocked(id)
	s.stall.met(found, grave, s.status.Lag, now)
	return s.stall.counts(s.status.Lag, now)
}

// passed notes that nothing stalls a shard any more, or the whole process.
func (t *tracker) passed(id gerritstream.ShardID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id == "" {
		t.stall.passed()
	} else if s := t.shards[id]; s != nil {
		s.stall.passed()
	}
}

// reported notes how a report to the store went. A process that cannot write
// one can take over no shard, although it may read what is stored.
func (t *tracker) reported(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.mute.passed()
		return
	}
	found := whyOf(fmt.Errorf("report to the store: %w", err), trouble.StoreAway)
	t.mute.met(found, false, 0, time.Now())
}

// wait notes that the reader of a shard waits for something, which is trouble
// of a kind if it lasts, until done is called.
func (t *tracker) wait(id gerritstream.ShardID, what string, k trouble.Kind) (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.shardLocked(id)
	s.waitsFor, s.waitsSince = why{what, k}, time.Now()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		s.waitsFor = why{}
	}
}

// isWaiting reports whether the reader has waited for a sink or a commit for
// long enough to count. The caller holds mu.
func (s *trackedShard) isWaiting(now time.Time) bool {
	return s.waitsFor.text != "" && now.Sub(s.waitsSince) >= lastsFor
}

// silentStall returns what stalls a shard that is led here without an error,
// for long enough to count. The caller holds mu.
func (s *trackedShard) silentStall(now time.Time) why {
	switch {
	case s.isWaiting(now):
		return why{"waiting for " + s.waitsFor.text, s.waitsFor.kind}
	case s.isLed() && now.Sub(s.paged) >= pageWithin:
		return why{"waiting for a page: the source is silent, or there is no memory for one", trouble.Stalled}
	}
	return why{}
}

// stuck returns what stalls the shards that are led here without an error.
func (t *tracker) stuck() map[gerritstream.ShardID]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, all := time.Now(), map[gerritstream.ShardID]string{}
	for id, s := range t.shards {
		found := s.silentStall(now).text
		if s.isLed() && s.stall.since.IsZero() && s.status.Trouble == "" && found != "" {
			all[id] = found
		}
	}
	return all
}

const (
	// heartbeatWithin is how long one round of planning, or one report, may
	// take. Each of the calls in it ends after some seconds, by the contracts
	// of Source and Store.
	heartbeatWithin = 2 * time.Minute

	// progressWithin is how long the reader of a shard may show nothing: no
	// page, no trouble, no commit. While others do, it may be waiting for its
	// turn for memory, which each of them may hold for lastsFor.
	progressWithin = 5 * time.Minute
)

// The parts of a Consumer with a heartbeat.
const (
	partPlan   = "planning"
	partReport = "reporting to the store"
)

// heartbeat notes that a part makes progress.
func (t *tracker) heartbeat(part string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heartbeats[part] = time.Now()
}

// endHeartbeats notes that nothing runs any more.
func (t *tracker) endHeartbeats() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.heartbeats)
}

// alive is Consumer.Alive.
func (t *tracker) alive() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	var dead []error
	for _, part := range slices.Sorted(maps.Keys(t.heartbeats)) {
		if d := now.Sub(t.heartbeats[part]); d > heartbeatWithin {
			dead = append(dead, fmt.Errorf("%s has made no progress for %s", part, d.Round(time.Second)))
		}
	}
	if len(t.heartbeats) == 0 {
		return nil
	}
	progress, newest := map[gerritstream.ShardID]time.Time{}, time.Time{} // of the shards that are read here
	for id, s := range t.shards {
		if s.isWaiting(now) { // its memory may be what others wait for
			return errors.Join(dead...)
		}
		if s.isLed() && s.status.State == gerritstream.StateReading {
			progress[id] = latest(s.paged, s.stall.last, s.status.Last.Commit)
			newest = latest(newest, progress[id])
		}
	}
	within := progressWithin
	if now.Sub(newest) <= progressWithin {
		within += time.Duration(len(progress)-1) * lastsFor
	}
	for _, id := range slices.Sorted(maps.Keys(progress)) {
		if d := now.Sub(progress[id]); d > within {
			dead = append(dead, fmt.Errorf("reading %s has made no progress for %s", id, d.Round(time.Second)))
		}
	}
	return errors.Join(dead...)
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
