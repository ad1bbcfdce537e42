package kinesis

import (
	"context"
	"math/rand/v2"
	"time"
)

// A shard grants five reads and 2 MiB a second to all its polling readers together. Where nothing else is said, a reader
// takes four of the five while it is behind, so that a second one gets along.
const (
	minGap         = 200 * time.Millisecond // between requests about one shard, whatever happens
	catchUpGap     = 250 * time.Millisecond // between reads while behind
	readBytesASec  = 2 << 20
	maxStrain      = time.Second           // the most that throttling spaces reads
	strainRelief   = 25 * time.Millisecond // taken off by each read that is not throttled: from a second to four reads in 20 s
	firstBound     = 500 * time.Millisecond
	maxFailedBound = 30 * time.Second
)

// pacer says when the next request about a shard is due. It belongs to one reading's goroutine.
type pacer struct {
	poll   time.Duration // between reads at the tip
	began  time.Time     // when the last read began
	due    time.Time     // when the next one may
	strain time.Duration // the spacing that throttling taught; zero: none
	bound  time.Duration // of the last pause after another failure; zero: the last read succeeded
}

// wait waits until the next request is due; its error is the context's.
func (p *pacer) wait(ctx context.Context) error { return sleep(ctx, time.Until(p.due)) }

// reading notes that a read begins.
func (p *pacer) reading() { p.began = time.Now() }

// succeeded plans the read after one that gave so many bytes.
func (p *pacer) succeeded(behind bool, bytes int) {
	p.bound = 0
	if p.strain -= strainRelief; p.strain <= catchUpGap {
		p.strain = 0
	}
	gap := p.poll
	if behind {
		gap = catchUpGap
	}
	paid := time.Duration(bytes) * time.Second / readBytesASec
	paid += paid/50 + time.Millisecond // the service counts from when it is reached, which varies
	p.due = p.began.Add(max(gap, p.strain, paid))
}

// throttled plans the next request after one that was refused for being too many: soon, then towards a second.
func (p *pacer) throttled() {
	p.strain = min(max(2*p.strain, firstBound), maxStrain)
	p.pause(p.strain/2 + rand.N(p.strain/2+1)) //nolint:gosec // jitter is no secret
}

// failed plans the next request after one that failed otherwise: exponential back-off with full jitter.
func (p *pacer) failed() {
	p.bound = min(max(2*p.bound, firstBound), maxFailedBound)
	p.pause(rand.N(p.bound + 1)) //nolint:gosec // jitter is no secret
}

// again plans the next request after one that has to be made in another way.
func (p *pacer) again() { p.pause(0) }

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
