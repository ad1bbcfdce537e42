package kinesis

import (
	"context"
	"math/rand/v2"
	"time"
)

// A shard grants five reads and 2 MiB a second to all its polling readers
// together. A reader that meets no other one takes four of the five. Readers
// that meet settle at fair shares, as TCP does: a refused reader slows down by
// a factor, the others speed up by a constant, so that the faster one gives up
// more and gains no more.
const (
	minGap         = 200 * time.Millisecond // between requests about one shard, whatever happens
	catchUpGap     = 250 * time.Millisecond // between reads while the reader lags
	readBytesASec  = 2 << 20
	maxShared      = time.Second // the longest gap due to other readers; the KCL starts with it
	sharedRelief   = 0.05        // reads a second more, each second: from one read a second to four in a minute
	sharedPatience = 10 * time.Second
	firstBound     = 500 * time.Millisecond
	maxFailedBound = 30 * time.Second
)

// pacer decides when the next request about a shard is due. It belongs to one
// reading's goroutine.
type pacer struct {
	poll    time.Duration // between reads at the tip
	unpaced bool          // no pause before the tip, and none for bytes
	began   time.Time     // when the last read began
	due     time.Time     // when the next one may begin
	gap     time.Duration // between reads without other readers
	shared  time.Duration // the gap learnt from refusals; zero: none
	refused time.Time     // when the first request since the last success was throttled; zero: none
	bound   time.Duration // of the last pause after another failure; zero: the last read succeeded
}

// succeeded plans the read after one that returned so many bytes.
func (p *pacer) succeeded(lagging bool, bytes int) {
	p.bound, p.refused = 0, time.Time{}
	if p.unpaced {
		p.due = p.began
		if !lagging {
			p.due = p.began.Add(p.poll)
		}
		return
	}
	p.gap = p.poll
	if lagging {
		p.gap = catchUpGap
	}
	if p.shared = faster(p.shared); p.shared <= p.gap {
		p.shared = 0
	}
	paid := time.Duration(bytes) * time.Second / readBytesASec
	paid += paid/20 + time.Millisecond // the service counts from when the request arrives, which varies
	// The shard gives no reader anything before the last page is paid for.
	// Other readers then get their turn.
	p.due = p.began.Add(max(p.gap, p.shared+paid))
}

// faster returns the gap after a read at a gap that was not refused.
func faster(gap time.Duration) time.Duration {
	seconds := gap.Seconds()
	return time.Duration(float64(gap) / (1 + sharedRelief*seconds*seconds))
}

// throttled plans the next request after a refused one: with half as long a gap
// again, up to a second. It reports whether the refusals are trouble; a few are
// how readers of a shard learn of each other.
func (p *pacer) throttled() (trouble bool) {
	if p.refused.IsZero() {
		p.refused = time.Now()
	}
	p.shared = min(max(p.shared, p.gap, catchUpGap)*3/2, maxShared)
	p.pause(p.shared/2 + rand.N(p.shared/2+1)) //nolint:gosec // jitter is no secret
	return time.Since(p.refused) >= sharedPatience
}

// failed plans the next request after another failure: exponential back-off
// with full jitter.
func (p *pacer) failed() {
	p.bound = min(max(2*p.bound, firstBound), maxFailedBound)
	p.pause(rand.N(p.bound + 1)) //nolint:gosec // jitter is no secret
}

// soon plans a request that replaces the last one, made in another way.
func (p *pacer) soon() { p.pause(0) }

func (p *pacer) pause(d time.Duration) { p.due = time.Now().Add(max(d, minGap)) }

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
