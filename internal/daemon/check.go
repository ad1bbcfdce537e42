package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/telemetry"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/webhook"
)

// Result is how a check came out.
type Result string

// The results.
const (
	Fine    Result = "ok"
	Wrong   Result = "wrong"
	Unknown Result = "not known" // it could not be tried, or not without effect
)

// Checked is one check and what it found.
type Checked struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	Detail string `json:"detail,omitempty"`
	Err    error  `json:"-"` // nil unless Wrong
}

const (
	checkTimeout = 10 * time.Second // for each thing that is asked
	skewTrouble  = time.Minute      // AWS refuses requests from five minutes on
)

// CheckLive tries whether a process with this configuration would work: it asks
// AWS, the store and the webhooks' receivers, and changes nothing. Every check
// is done that can be, whatever the others find.
func CheckLive(ctx context.Context, c *config.Config) []Checked {
	l := &liveCheck{config: c}
	l.kinesis(ctx)
	l.store(ctx)
	for i := range c.Webhooks {
		l.webhook(ctx, &c.Webhooks[i].Hook)
	}
	return l.found
}

// liveCheck collects what is found.
type liveCheck struct {
	config  *config.Config
	listing gerritstream.Listing // of the stream; zero: it could not be listed
	found   []Checked
}

// add notes a check: it is Wrong if there is an error.
func (l *liveCheck) add(check, detail string, err error) {
	c := Checked{Check: check, Result: Fine, Detail: detail}
	if err != nil {
		c.Result, c.Detail, c.Err = Wrong, strings.ReplaceAll(err.Error(), "\n", "; "), err
	}
	l.found = append(l.found, c)
}

func (l *liveCheck) unknown(check, why string) {
	l.found = append(l.found, Checked{Check: check, Result: Unknown, Detail: why})
}

// kinesis checks credentials, permissions, the stream and the clock.
func (l *liveCheck) kinesis(ctx context.Context) {
	var skew skewObserver
	settings := l.config.Kinesis
	settings.Observer = &skew
	source, err := kinesis.New(ctx, settings)
	if err != nil {
		l.add("credentials", "", sourceFault(err))
		return
	}
	asked, cancel := context.WithTimeout(ctx, checkTimeout)
	from, err := source.Credentials(asked)
	cancel()
	if l.add("credentials", from, err); err != nil {
		l.unknown("stream", "not tried: there are no credentials")
		return
	}
	asked, cancel = context.WithTimeout(ctx, listTimeout)
	defer cancel()
	trials := source.Try(asked)
	failed := false
	for _, t := range trials {
		switch {
		case !t.Known:
			l.unknown(t.Action, t.Detail)
		default:
			l.add(t.Action, t.Detail, t.Err)
			failed = failed || t.Err != nil
		}
	}
	if failed {
		l.unknown("stream", "not tried: see above")
	} else {
		l.listing, err = source.List(asked)
		l.add("stream", streamText(&l.listing), err)
	}
	l.clock(&skew)
}

// streamText describes a stream for people.
func streamText(l *gerritstream.Listing) string {
	open := 0
	for i := range l.Shards {
		if l.Shards[i].Last == "" {
			open++
		}
	}
	return fmt.Sprintf("%s: open shards: %d, keeps records for %s", l.Stream.ARN, open, when.Span(l.Retention))
}

// clock compares the local clock with the service's.
func (l *liveCheck) clock(skew *skewObserver) {
	switch {
	case !skew.known:
		l.unknown("clock", "the service has not told the time")
	case skew.ahead.Abs() > skewTrouble:
		l.add("clock", "", fmt.Errorf("this host's clock differs from Kinesis' by %s; AWS refuses requests from five "+
			"minutes on: set up NTP", when.Span(skew.ahead.Abs())))
	default:
		l.add("clock", fmt.Sprintf("within %s of Kinesis'", when.Span(max(skew.ahead.Abs(), time.Second))), nil)
	}
}

// store checks the store, whose stream it holds, and who reads its queue.
func (l *liveCheck) store(ctx context.Context) {
	c := l.config
	if c.Store.Absent() {
		err := c.Store.CheckAbsent()
		if err != nil {
			err = &ConfigError{fmt.Errorf("%s: %w", &c.Store, err)}
		}
		l.add("store", fmt.Sprintf("%s is not there yet; run creates it", &c.Store), err)
		l.unknown("queue's reader", "not tried: there is no store yet")
		return
	}
	asked, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if missing, err := c.Missing(asked); missing || err != nil {
		l.add("store", fmt.Sprintf("%s is not there yet; run creates it", &c.Store), storeFault(&c.Store, err))
		why := "not tried: there is no store yet"
		if err != nil {
			why = "not tried: see above"
		}
		l.unknown("queue's reader", why)
		return
	}
	is, err := c.Inspect(asked)
	if err == nil && is.Origin != nil && l.listing.Stream.ARN != "" && is.Origin.Stream.ARN != l.listing.Stream.ARN {
		err = plan.OtherStream(is.Origin, l.listing)
	}
	if l.add("store", fmt.Sprintf("%s: events: %d, processes: %d", &c.Store, is.Queue, len(is.Reports)),
		storeFault(&c.Store, err)); err != nil && is.Origin == nil {
		l.unknown("queue's reader", "not tried: see above")
		return
	}
	readers, err := c.QueueReaders(asked)
	l.add("queue's reader", readers, err)
}

// storeFault returns an error of reading the store as run would take it: as a
// mistake in the settings, or as something to wait for.
func storeFault(store *config.Store, err error) error {
	switch {
	case store.Remote() && !errors.Is(err, gerritstream.ErrUnusable):
		return err
	case err == nil, errors.Is(err, gerritstream.ErrRetryLater), errors.Is(err, gerritstream.ErrOtherStream),
		errors.Is(err, gerritstream.ErrDenied), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return &ConfigError{err}
}

// webhook connects to a receiver, and sends nothing.
func (l *liveCheck) webhook(ctx context.Context, h *webhook.Hook) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	address, err := webhook.Reach(ctx, h, webhook.Network{})
	l.add("webhook "+h.Name, fmt.Sprintf("%s answers at %s", h.URL, address), err)
}

// CheckTraces tries whether the collector of traces takes requests: it gets one
// without spans.
func CheckTraces(ctx context.Context, c *telemetry.Config) Checked {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var l liveCheck
	l.add("collector", c.Host()+" takes spans", telemetry.Try(ctx, c))
	return l.found[0]
}

// skewObserver keeps how far the service's clock is ahead, as of the last
// reply. It belongs to one goroutine.
type skewObserver struct {
	ahead time.Duration
	known bool
}

var _ kinesis.Observer = (*skewObserver)(nil)

func (*skewObserver) Request(string, string, time.Duration) {}
func (*skewObserver) ReplyBytes(int)                        {}
func (*skewObserver) SubscriptionBegan()                    {}
func (*skewObserver) SubscriptionEnded(string)              {}

func (o *skewObserver) ClockSkew(ahead time.Duration) { o.ahead, o.known = ahead, true }
