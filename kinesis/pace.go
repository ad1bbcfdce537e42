package kinesis

import (
	"context"
	"math/rand/v2"
	"time"
)

// A shard grants five reads and 2 MiB a second to all its polling readers
// together. A reader that has not met another one takes four of the five.
// Readers that meet settle at fair shares, as TCP does: who is refused slows
// down by a factor, and who is not speeds up by a constant, so that the faster
// one gives up more and gains no more.
const (
	minGap         = 200 * time.Millisecond // between requests about one shard, whatever happens
	catchUpGap     = 250 * time.Millisecond // between reads while behind
	readBytesASec  = 2 << 20
	maxShared      = time.Second // the most that sharing a shard spaces reads: what the KCL does from the start
	sharedRelief   = 0.05        // reads a second more, each second: from one read a second to four in a minute
	sharedPatience = 10 * time.Second
	firstBound     = 500 * time.Millisecond
	maxFailedBound = 30 * time.Second
)

// pacer says when the next request about a shard is due. It belongs to one
// reading's goroutine.
type pacer struct {
	poll    time.Duration // between reads at the tip
	began   time.Time     // when the last read began
	due     time.Time     // when the next one may
	gap     time.Duration // between reads if nobody else reads
	shared  time.Duration // the spacing that sharing the shard taught; zero: none
	refused time.Time     // when the first request since the last success was throttled; zero: none
	bound   time.Duration // of the last pause after another failure; zero: the last read succeeded
}

// wait waits until the next request is due; its error is the context's.
func (p *pacer) wait(ctx context.Context) error { return sleep(ctx, time.Until(p.due)) }

// reading notes that a read begins.
func (p *pacer) reading() { p.began = time.Now() }

// succeeded plans the read after one that gave so many bytes.
func (p *pacer) succeeded(behind bool, bytes int) {
	p.bound, p.refused = 0, time.Time{}
	p.gap = p.poll
	if behind {
		p.gap = catchUpGap
	}
	if p.shared = faster(p.shared); p.shared <= p.gap {
		p.shared = 0
	}
	paid := time.Duration(bytes) * time.Second / readBytesASec
	paid += paid/20 + time.Millisecond // the service counts from when it is reached, which varies
	// No reader is given anything before the last page is paid for. Where
	// others read too, each gets its turn after that.
	p.due = p.began.Add(max(p.gap, p.shared+paid))
}

// faster is the spacing after one read at a spacing that was not refused.
func faster(spacing time.Duration) time.Duration {
	seconds := spacing.Seconds()
	return time.Duration(float64(spacing) / (1 + sharedRelief*seconds*seconds))
}

// throttled plans the next request after one that was refused for being too
// many: half as many again are left out, down to one read a second. It reports
// whether that is trouble: a few refusals are how readers of a shard learn of
// each other.
func (p *pacer) throttled() (trouble bool) {
	if p.refused.IsZero() {
		p.refused = time.Now()
	}
	p.shared = min(max(p.shared, p.gap, catchUpGap)*3/2, maxShared)
	p.pause(p.shared/2 + rand.N(p.shared/2+1)) //nolint:gosec // jitter is no secret
	return time.Since(p.refused) >= sharedPatience
}

// failed plans the next request after one that failed otherwise: exponential
// back-off with full jitter.
func (p *pacer) failed() {
	p.bound = min(max(2*p.bound, firstBound), maxFailedBound)
	p.pause(rand.N(p.bound + 1)) //nolint:gosec // jitter is no secret
}

// again plans the next request after one that has to be made in another way.
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
