package kinesis

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A shard grants five reads, 2 MiB and 2,000 records a second to all its
// polling readers together. A reader at the tip that has the shard to itself
// takes all five reads. A refusal shows that there is another reader: from
// then on, for aloneAfter, each of ours takes four at most, so that a reader
// once a second finds room. Readers that meet settle at fair shares, as TCP
// does: a refused reader slows down by a factor, the others speed up by a
// constant, so that the faster one gives up more and gains no more.
const (
	readsASecond     = 5
	readBytesASecond = 2 << 20
	recordsASecond   = 2000

	minGap         = time.Second / readsASecond // between requests about one shard, whatever happens
	catchUpGap     = 250 * time.Millisecond     // between reads while the reader lags, or has met another
	maxShared      = time.Second                // the longest gap due to other readers; the KCL starts with it
	sharedRelief   = 0.05                       // reads a second more, each second: from one to four in a minute
	sharedPatience = 10 * time.Second
	aloneAfter     = 10 * time.Minute // after the last refusal, a reader takes the shard to be its own
	firstBound     = 500 * time.Millisecond
	maxFailedBound = 30 * time.Second
)

// The reads of a shard's last leader count against the new one for a second.
// They stop counting one by one, every minGap. So refusals during the first
// inheritFor do not show another reader, and the new leader tries again soon.
const (
	inheritFor = 250 * time.Millisecond
	inheritGap = 50 * time.Millisecond
)

// A shard that stays silent is read less often: the pause grows to a share of
// its silence, so far that all the idle shards of a Source together are read
// idleASecond times, but to maxIdle at most. Up to a hundred shards are always
// read at full pace. Such reads begin together, every idleBeat: waking the
// processors for each alone costs more than the read.
const (
	idleShare   = 30
	idleASecond = 500
	maxIdle     = 2 * time.Second
	idleBeat    = 100 * time.Millisecond
)

// tempo is what the pacers of a Source have in common.
type tempo struct {
	poll     time.Duration // between reads at the tip
	unpaced  bool          // see pacer
	began    time.Time     // the beats of idle shards count from here
	readings atomic.Int64  // that are under way
}

func (t *tempo) pacer() pacer {
	return pacer{poll: t.poll, unpaced: t.unpaced, beats: t.began, readings: &t.readings}
}

// pacer decides when the next request about a shard is due. It belongs to one
// reading's goroutine.
type pacer struct {
	poll     time.Duration           // between reads at the tip
	unpaced  bool                    // no pause before the tip, and none for bytes and records
	beats    time.Time               // when the first idleBeat began
	readings *atomic.Int64           // of all pacers; nil: this one alone
	began    time.Time               // when the last read began
	due      time.Time               // when the next one may begin
	gap      time.Duration           // between reads without other readers
	shared   time.Duration           // the gap learnt from refusals; zero: none
	refused  time.Time               // when the first request since the last success was throttled; zero: none
	met      time.Time               // when another reader was last noticed; zero: never
	bound    time.Duration           // of the last pause after another failure; zero: the last read succeeded
	opened   time.Time               // when the first read began; zero: not yet
	active   time.Time               // when the shard last had records, or the reader lagged
	answered [readsASecond]time.Time // when the latest reads had been answered, oldest first
}

// begin notes that a read begins.
func (p *pacer) begin() {
	p.began = time.Now()
	if p.opened.IsZero() {
		p.opened, p.active = p.began, p.began
	}
}

// answer notes that the service has answered the read. From then on, a second
// long, the read counts, whenever it had arrived there.
func (p *pacer) answer() {
	copy(p.answered[:], p.answered[1:])
	p.answered[readsASecond-1] = time.Now()
}

// succeeded plans the read after one that returned so many records and bytes.
func (p *pacer) succeeded(lagging bool, records, bytes int) {
	p.bound, p.refused = 0, time.Time{}
	if p.unpaced {
		p.due = p.began
		if !lagging {
			p.due = p.began.Add(p.poll)
		}
		return
	}
	if lagging || records > 0 {
		p.wake()
	}
	switch {
	case lagging:
		p.gap = catchUpGap
	case !p.met.IsZero() && time.Since(p.met) < aloneAfter:
		p.gap = max(p.poll, catchUpGap)
	default:
		p.gap = p.poll
	}
	if idle := p.idleGap(); idle > p.gap {
		p.gap = max(p.gap, p.onBeat(idle-rand.N(idle/10))) //nolint:gosec // jitter is no secret
	}
	if p.shared = faster(p.shared); p.shared <= p.gap {
		p.shared = 0
	}
	paid := max(time.Duration(bytes)*time.Second/readBytesASecond, time.Duration(records)*time.Second/recordsASecond)
	paid += paid/20 + time.Millisecond // the service counts from when the request arrives, which varies
	// The shard gives no reader anything before the last page is paid for.
	// Other readers then get their turn.
	p.plan(p.began.Add(max(p.gap, p.shared+paid)))
}

// wake ends a shard's silence.
func (p *pacer) wake() { p.active = time.Now() }

// idleGap returns the gap between reads that a shard's silence allows.
func (p *pacer) idleGap() time.Duration {
	if p.readings == nil {
		return 0
	}
	fair := time.Duration(p.readings.Load()) * time.Second / idleASecond
	return min(time.Since(p.active)/idleShare, fair, maxIdle)
}

// onBeat shortens a gap so that the next read begins on a beat.
func (p *pacer) onBeat(gap time.Duration) time.Duration {
	return gap - p.began.Add(gap).Sub(p.beats)%idleBeat
}

// plan makes the next read due at a time, or when the fifth-last read no longer
// counts.
func (p *pacer) plan(due time.Time) { p.due = latest(due, p.answered[0].Add(time.Second)) }

// faster returns the gap after a read at a gap that was not refused.
func faster(gap time.Duration) time.Duration {
	seconds := gap.Seconds()
	return time.Duration(float64(gap) / (1 + sharedRelief*seconds*seconds))
}

// throttled plans the next request after a refused one: with half as long a gap
// again, up to a second. It reports whether the refusals are trouble; a few are
// how readers of a shard learn of each other.
func (p *pacer) throttled() (trouble bool) {
	now := time.Now()
	if p.refused.IsZero() {
		p.refused = now
	}
	if now.Sub(p.opened) < inheritFor {
		p.due = now.Add(inheritGap)
		return false
	}
	p.met = now
	p.shared = min(max(p.shared, p.gap, catchUpGap)*3/2, maxShared)
	p.pause(p.shared/2 + rand.N(p.shared/2+1)) //nolint:gosec // jitter is no secret
	return now.Sub(p.refused) >= sharedPatience
}

// failed plans the next request after another failure: exponential back-off
// with full jitter.
func (p *pacer) failed() {
	p.bound = min(max(2*p.bound, firstBound), maxFailedBound)
	p.pause(rand.N(p.bound + 1)) //nolint:gosec // jitter is no secret
}

// soon plans a request that replaces the last one, made in another way.
func (p *pacer) soon() { p.pause(0) }

func (p *pacer) pause(d time.Duration) { p.plan(time.Now().Add(max(d, minGap))) }

// sleep waits for d; its error is the context's.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
