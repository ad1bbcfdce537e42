package kinesis

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

const (
	consumerPause  = time.Second      // between looks at a consumer that is not active yet
	consumerWithin = 2 * time.Minute  // for it to become active
	fanOutRetry    = 10 * time.Minute // how long all readings poll after fan-out was not possible
	openAtOnce     = 16               // net/http dials for each request that finds no free connection
)

// fanOut is what the readings of a Source share.
type fanOut struct {
	mode   ReadMode
	client awskinesis.HTTPClient // for subscriptions
	name   string                // of the consumer
	turn   chan struct{}         // capacity 1: full while a reading tries, for all, whether fan-out works
	open   chan struct{}         // capacity openAtOnce: an item for each subscription that is being asked for

	mu       sync.Mutex
	consumer fanOutConsumer // under mu; zero: to be found
	works    bool           // under mu: a subscription has stood since the last failure for all
	failures int            // under mu: for all, in a row
	steady   int            // under mu: subscriptions that have stood for steadyAfter
	wasGood  time.Time      // under mu: local, when there last was one
	refusal  *Error         // under mu: why all readings poll, or last did; nil: a good subscription has stood since
	until    time.Time      // under mu: local, how long they do, or how long to wait after a failure for all
	refusals int            // under mu: so far
}

// fanOutConsumer is a consumer as registered.
type fanOutConsumer struct {
	arn     string
	created time.Time // its stream's; zero: a configured ARN, which ends with its stream
}

func newFanOut(c *Config) fanOut {
	return fanOut{
		mode: cmp.Or(c.Read, ReadPoll), name: cmp.Or(c.ConsumerName, defaultConsumer),
		turn: make(chan struct{}, 1), open: make(chan struct{}, openAtOnce),
		consumer: fanOutConsumer{arn: c.ConsumerARN},
	}
}

// enter lets a reading subscribe: a few at a time if fan-out works, or else one
// after the other, so that a thousand readings do not all ask what one can find
// out. refused is how long to poll instead; zero: leave is to be called in the
// end.
func (f *fanOut) enter(ctx context.Context) (leave func(), refused time.Duration, err error) {
	for {
		works, refused := f.state()
		if refused > 0 {
			return nil, refused, nil
		}
		gate := f.turn
		if works {
			gate = f.open
		}
		select {
		case gate <- struct{}{}:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
		if still, refused := f.state(); still == works && refused == 0 {
			return func() { <-gate }, 0, nil
		}
		<-gate
	}
}

// state reports whether fan-out works and, if not, for how long to poll.
func (f *fanOut) state() (works bool, refused time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.works, max(0, time.Until(f.until))
}

// forget has the consumer found again, after the service did not find it.
func (f *fanOut) forget(c fanOutConsumer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.consumer == c && !c.created.IsZero() {
		f.consumer, f.works = fanOutConsumer{}, false
	}
}

// steadied notes that a subscription has stood for steadyAfter, or that such a
// one has ended: it shows that the network lets them live. It reports whether
// all readings had to poll before.
func (f *fanOut) steadied(n int) (again bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.steady += n; n != 0 {
		f.wasGood = time.Now()
	}
	again = n > 0 && f.refusal != nil
	if n > 0 {
		f.refusal = nil
	}
	return again
}

// livesSince reports whether there was one since a time.
func (f *fanOut) livesSince(at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steady > 0 || f.wasGood.After(at)
}

// lastRefusal returns why all readings poll, and how often they had to so far;
// nil: they do not.
func (f *fanOut) lastRefusal() (*Error, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refusal, f.refusals
}

// worked notes that a subscription stands.
func (f *fanOut) worked() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.works, f.failures, f.until = true, 0, time.Time{}
}

// failed takes in a failure that concerns all readings, and returns how long
// they are to poll before one of them tries again.
func (s *Source) failed(e *Error) time.Duration {
	f := &s.fanOut
	f.mu.Lock()
	f.failures++
	pause := min(time.Second<<min(f.failures, 10), maxSubscribe)
	give := f.failures >= e.patience()
	f.works, f.until = false, time.Now().Add(pause)
	f.mu.Unlock()
	if give {
		return s.fallBack(e)
	}
	return pause
}

// fallBack has all readings poll for a while, which it returns. It logs that
// once until fan-out works again.
func (s *Source) fallBack(why *Error) time.Duration {
	f := &s.fanOut
	f.mu.Lock()
	known := f.refusal != nil
	f.works, f.failures, f.refusal, f.until = false, 0, why, time.Now().Add(fanOutRetry)
	f.refusals++
	f.mu.Unlock()
	level := slog.LevelWarn
	switch {
	case known:
		level = slog.LevelDebug
	case f.mode == ReadAuto:
		level = slog.LevelInfo
	}
	s.log.Log(context.Background(), level, "enhanced fan-out is not available; polling",
		"retry", fanOutRetry.String(), "err", why)
	return fanOutRetry
}

// concernsAll reports whether a failure is not about one shard.
func (e *Error) concernsAll() bool {
	return e.Operation != subscribeOperation || e.class == denied || e.isUnknown()
}

// isUnknown reports whether the service, an emulator, lacks the operation.
func (e *Error) isUnknown() bool {
	return e.Code == "UnknownOperationException" || e.Status == http.StatusNotFound ||
		e.Status == http.StatusNotImplemented
}

// patience is how many failures of this kind in a row show that fan-out is not
// possible. Credentials that have just changed get a second try.
func (e *Error) patience() int {
	switch {
	case e.isUnknown(), e.class == badArgument,
		e.class == throttled && e.Operation == "kinesis:RegisterStreamConsumer": // twenty consumers
		return 1
	case e.class == denied:
		return 2
	case e.class == notFound: // the stream may have been deleted to be recreated
		return 4
	}
	return giveUpAfter
}

// findConsumer returns the consumer, registered and active. Its caller has the
// turn.
func (s *Source) findConsumer(ctx context.Context) (fanOutConsumer, error) {
	f := &s.fanOut
	f.mu.Lock()
	known := f.consumer
	f.mu.Unlock()
	if known.arn != "" {
		return known, nil
	}
	if s.arn.Load() == nil {
		if _, _, err := s.describe(ctx); err != nil {
			return known, err
		}
	}
	for began := time.Now(); ; {
		arn, status, err := s.lookUpConsumer(ctx)
		switch {
		case err != nil:
			return known, err
		case status == types.ConsumerStatusActive:
			// A stream that was deleted took its consumers along. So this one
			// belongs to the stream that is described after it was found.
			created, err := s.createdSince(ctx, time.Now())
			if err != nil {
				return known, err
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			f.consumer = fanOutConsumer{arn, created}
			return f.consumer, nil
		case time.Since(began) > consumerWithin:
			return known, fmt.Errorf("consumer %s is still %s", arn, status)
		}
		if err := sleep(ctx, consumerPause); err != nil {
			return known, err
		}
	}
}

// lookUpConsumer describes the consumer. It registers it if there is none.
func (s *Source) lookUpConsumer(ctx context.Context) (arn string, status types.ConsumerStatus, err error) {
	var found *awskinesis.DescribeStreamConsumerOutput
	_, err = s.persist(ctx, target{operation: "DescribeStreamConsumer"}, func(ctx context.Context) (err error) {
		found, err = s.client.DescribeStreamConsumer(ctx, &awskinesis.DescribeStreamConsumerInput{
			StreamARN: s.arn.Load(), ConsumerName: &s.fanOut.name,
		})
		if err == nil && (found.ConsumerDescription == nil || found.ConsumerDescription.ConsumerARN == nil) {
			err = malformed("the reply has no consumer")
		}
		return err
	})
	if err == nil {
		return *found.ConsumerDescription.ConsumerARN, found.ConsumerDescription.ConsumerStatus, nil
	}
	if errClass(err) != notFound {
		return "", "", err
	}
	var made *awskinesis.RegisterStreamConsumerOutput
	_, err = s.persist(ctx, target{operation: "RegisterStreamConsumer"}, func(ctx context.Context) (err error) {
		made, err = s.client.RegisterStreamConsumer(ctx, &awskinesis.RegisterStreamConsumerInput{
			StreamARN: s.arn.Load(), ConsumerName: &s.fanOut.name,
		})
		if err == nil && (made.Consumer == nil || made.Consumer.ConsumerARN == nil) {
			err = malformed("the reply has no consumer")
		}
		return err
	})
	switch {
	case errClass(err) == notReady: // another process was faster, or the stream is changing
		return s.fanOut.name, types.ConsumerStatusCreating, nil
	case err != nil:
		return "", "", err
	}
	s.log.Info("registered consumer for enhanced fan-out", "consumer", *made.Consumer.ConsumerARN)
	return *made.Consumer.ConsumerARN, made.Consumer.ConsumerStatus, nil
}
