package kinesistest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Enhanced fan-out. A registered consumer subscribes to a shard and gets its
// records pushed, at most 2 MiB a second for each consumer and shard, whatever
// others read.
//
//   - A subscription lasts five minutes. Its last event's
//     ContinuationSequenceNumber is where the next one starts.
//   - SubscribeToShard is answered once a second for a consumer and shard.
//     Within five seconds of a subscription another one is refused; after that
//     it takes over, and the first one ends with ResourceInUseException.
//   - At the end of a closed shard comes an event that names the children and
//     has no ContinuationSequenceNumber; the subscription then ends.
//   - While nothing arrives an empty event comes every five seconds. AWS does
//     not say how often; it is seconds there as well.
const (
	maxConsumers       = 20
	subscriptionLife   = 5 * time.Minute
	subscriptionGuard  = 5 * time.Second
	idleEventEvery     = 5 * time.Second
	fanOutBytesASecond = 2 << 20
	maxEventBytes      = 1 << 20 // a larger record is an event of its own
)

// fanOutConsumer is a registered consumer. The server's mutex owns it.
type fanOutConsumer struct {
	stream  *stream
	name    string
	created time.Time
	active  time.Time // when it becomes ACTIVE
	subs    map[string]*subscription
	calls   map[string]*callMeter // of SubscribeToShard, by shard
	pushed  map[string]*debt      // by shard
}

func (c *fanOutConsumer) arn() string {
	return fmt.Sprintf("%s/consumer/%s:%d", c.stream.arn, c.name, c.created.Unix())
}

func (c *fanOutConsumer) status(now time.Time) string {
	if now.Before(c.active) {
		return statusCreating
	}
	return statusActive
}

var consumerARNPattern = regexp.MustCompile(
	`^(arn:aws.*:kinesis:.*:\d{12}:stream/[^/]+)/consumer/([a-zA-Z0-9_.-]+):[0-9]+$`)

// consumerRef is how requests name a consumer: by its ARN, or by the stream's
// ARN and its name.
type consumerRef struct {
	StreamARN    *string
	ConsumerName *string
	ConsumerARN  *string
}

func (r *consumerRef) ref() *streamRef {
	if r.ConsumerARN != nil {
		stream, _, _ := strings.Cut(*r.ConsumerARN, "/consumer/")
		return &streamRef{StreamARN: &stream}
	}
	return &streamRef{StreamARN: r.StreamARN}
}

func (r *consumerRef) check(c *checks) {
	c.stream(&streamRef{StreamARN: r.StreamARN})
	c.name(r.ConsumerName, "consumerName", false)
	c.text(r.ConsumerARN, text{member: "consumerARN", most: 2048, pattern: consumerARNPattern,
		shown: `^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+`})
}

// consumer finds a registered consumer. mu is held.
func (s *Server) consumer(r *consumerRef) (*fanOutConsumer, *Fault) {
	if r.ConsumerARN == nil && (r.StreamARN == nil || r.ConsumerName == nil) {
		return nil, invalid("Either ConsumerARN or both ConsumerName and StreamARN must be specified.")
	}
	st, f := s.lookup(r.ref())
	if f != nil {
		return nil, f
	}
	var name string
	if r.ConsumerARN != nil {
		name = consumerARNPattern.FindStringSubmatch(*r.ConsumerARN)[2]
	} else {
		name = *r.ConsumerName
	}
	c := st.consumers[name]
	if c == nil || r.ConsumerARN != nil && c.arn() != *r.ConsumerARN {
		return nil, fault("ResourceNotFoundException", "Consumer %s, account %s, not found.", name, s.opts.Account)
	}
	return c, nil
}

type describedConsumer struct {
	ConsumerName              string
	ConsumerARN               string
	ConsumerStatus            string
	ConsumerCreationTimestamp seconds
	StreamARN                 string `json:",omitempty"`
}

func (c *fanOutConsumer) describe(now time.Time) describedConsumer {
	return describedConsumer{
		ConsumerName: c.name, ConsumerARN: c.arn(), ConsumerStatus: c.status(now),
		ConsumerCreationTimestamp: seconds(c.created),
	}
}

type registerStreamConsumerInput struct{ consumerRef }

func (s *Server) registerStreamConsumer(in *registerStreamConsumerInput, now time.Time) (any, *Fault) {
	if in.ConsumerName == nil {
		return nil, invalid("ConsumerName must be specified.")
	}
	st, f := s.active(&streamRef{StreamARN: in.StreamARN})
	if f != nil {
		return nil, f
	}
	switch {
	case st.consumers[*in.ConsumerName] != nil:
		return nil, fault("ResourceInUseException", "Consumer %s under stream %s already exists.", *in.ConsumerName,
			st.name)
	case len(st.consumers) >= maxConsumers:
		return nil, fault("LimitExceededException", "Stream %s has %d consumers already, the limit.", st.name,
			maxConsumers)
	}
	c := &fanOutConsumer{
		stream: st, name: *in.ConsumerName, created: now, active: now.Add(s.opts.CreateDelay),
		subs: map[string]*subscription{}, calls: map[string]*callMeter{}, pushed: map[string]*debt{},
	}
	if st.consumers == nil {
		st.consumers = map[string]*fanOutConsumer{}
	}
	st.consumers[c.name] = c
	return struct{ Consumer describedConsumer }{c.describe(now)}, nil
}

type describeStreamConsumerInput struct{ consumerRef }

func (s *Server) describeStreamConsumer(in *describeStreamConsumerInput, now time.Time) (any, *Fault) {
	c, f := s.consumer(&in.consumerRef)
	if f != nil {
		return nil, f
	}
	d := c.describe(now)
	d.StreamARN = c.stream.arn
	return struct{ ConsumerDescription describedConsumer }{d}, nil
}

type deregisterStreamConsumerInput struct{ consumerRef }

func (s *Server) deregisterStreamConsumer(in *deregisterStreamConsumerInput, _ time.Time) (any, *Fault) {
	c, f := s.consumer(&in.consumerRef)
	if f != nil {
		return nil, f
	}
	delete(c.stream.consumers, c.name)
	for _, b := range c.subs {
		b.end(fault("ResourceNotFoundException", "Consumer %s, account %s, not found.", c.name, s.opts.Account))
	}
	return nil, nil
}

type listStreamConsumersInput struct {
	StreamARN  *string
	MaxResults *int
	NextToken  *string
}

func (in *listStreamConsumersInput) ref() *streamRef { return &streamRef{StreamARN: in.StreamARN} }

func (in *listStreamConsumersInput) check(c *checks) {
	c.stream(in.ref())
	c.number(in.MaxResults, "maxResults", 1, 10000)
}

func (s *Server) listStreamConsumers(in *listStreamConsumersInput, now time.Time) (any, *Fault) {
	st, f := s.lookup(in.ref())
	if f != nil {
		return nil, f
	}
	var token pageToken
	if in.NextToken != nil && !s.open(*in.NextToken, &token) {
		return nil, invalid("NextToken is invalid.")
	}
	out := struct {
		Consumers []describedConsumer
		NextToken string `json:",omitempty"`
	}{Consumers: []describedConsumer{}}
	for _, name := range slices.Sorted(maps.Keys(st.consumers)) {
		if name <= token.After {
			continue
		}
		if in.MaxResults != nil && len(out.Consumers) == *in.MaxResults {
			out.NextToken = s.sealed(pageToken{After: out.Consumers[len(out.Consumers)-1].ConsumerName,
				Issued: now.UnixMilli()})
			break
		}
		out.Consumers = append(out.Consumers, st.consumers[name].describe(now))
	}
	return out, nil
}

type startingPosition struct {
	Type           *string
	SequenceNumber *string
	Timestamp      *epoch
}

type subscribeToShardInput struct {
	ConsumerARN      *string
	ShardId          *string //nolint:revive,staticcheck // as in the request
	StartingPosition *startingPosition
}

func (in *subscribeToShardInput) consumer() *consumerRef {
	return &consumerRef{ConsumerARN: in.ConsumerARN}
}

func (in *subscribeToShardInput) ref() *streamRef { return in.consumer().ref() }

func (in *subscribeToShardInput) check(c *checks) {
	if in.ConsumerARN == nil {
		c.add("null", "consumerARN", "not be null")
	}
	in.consumer().check(c)
	c.name(in.ShardId, "shardId", true)
	if in.StartingPosition == nil {
		c.add("null", "startingPosition", "not be null")
		return
	}
	in.iteratorInput().check(c)
}

// iteratorInput is the request for an iterator that stands at the same place.
func (in *subscribeToShardInput) iteratorInput() *getShardIteratorInput {
	p := in.StartingPosition
	return &getShardIteratorInput{
		ShardId: in.ShardId, ShardIteratorType: p.Type, StartingSequenceNumber: p.SequenceNumber,
		Timestamp: p.Timestamp,
	}
}

func (s *Server) subscribeToShard(in *subscribeToShardInput, now time.Time) (any, *Fault) {
	c, f := s.consumer(in.consumer())
	if f != nil {
		return nil, f
	}
	sh := c.stream.find(*in.ShardId)
	was := c.subs[*in.ShardId]
	switch {
	case !c.stream.serving():
		return nil, s.streamNotFound(c.stream.name, s.opts.Account)
	case c.status(now) != statusActive:
		return nil, fault("ResourceInUseException", "Consumer %s is not ACTIVE.", c.arn())
	case sh == nil:
		return nil, s.shardNotFound(*in.ShardId, c.stream)
	case !s.opts.NoLimits && !metered(c.calls, sh.id).allow(now, 1):
		return nil, fault("LimitExceededException", "Rate exceeded for consumer %s and shard %s.", c.arn(), sh.id)
	case was != nil && was.over == nil && now.Sub(was.began) < subscriptionGuard:
		return nil, subscriptionInUse(c, sh)
	}
	at, f := s.startingPlace(in.iteratorInput(), sh, now)
	if f != nil {
		return nil, f
	}
	if was != nil {
		was.end(subscriptionInUse(c, sh))
	}
	b := &subscription{
		server: s, consumer: c, shard: sh, at: at, began: now, due: time.Now().Add(subscriptionLife),
		closed: make(chan struct{}),
	}
	c.subs[sh.id] = b
	return b, nil
}

// metered returns the meter of a shard, made if need be.
func metered[M any](meters map[string]*M, shard string) *M {
	if meters[shard] == nil {
		meters[shard] = new(M)
	}
	return meters[shard]
}

func subscriptionInUse(c *fanOutConsumer, sh *shard) *Fault {
	return fault("ResourceInUseException", "Another active subscription exists for this consumer: %s and shard %s",
		c.arn(), sh.id)
}

// subscription is the body of a SubscribeToShard reply: its events are made as
// they are read, so that a reader that does not read holds nothing but its
// place in the shard. Fields without a note belong to the reader's goroutine.
type subscription struct {
	server   *Server
	consumer *fanOutConsumer
	shard    *shard
	began    time.Time // the service's
	due      time.Time // local
	ctx      context.Context
	cbor     bool // events are CBOR, otherwise JSON

	at     place  // under the server's mu
	over   *Fault // under the server's mu: why it ends, once it is to end early
	frame  []byte // what is left to be read of the event made last
	ended  bool   // frame is the last one
	events int    // made so far, the initial response not counted
	edit   func(events int, frame []byte) ([]byte, error)

	closing sync.Once
	closed  chan struct{}
}

// begin makes the initial response.
func (b *subscription) begin(cbor bool) {
	b.cbor = cbor
	b.frame = appendEvent(nil, "initial-response", []byte("{}"), cbor)
}

// end has the subscription end with an exception. mu is held.
func (b *subscription) end(why *Fault) {
	if b.over == nil {
		b.over = why
		b.shard.wake()
	}
}

// Close ends the subscription for its reader.
func (b *subscription) Close() error {
	b.closing.Do(func() {
		close(b.closed)
		b.server.mu.Lock()
		defer b.server.mu.Unlock()
		if b.over == nil {
			b.over = &Fault{}
		}
		if b.consumer.subs[b.shard.id] == b {
			delete(b.consumer.subs, b.shard.id)
		}
	})
	return nil
}

// Read implements io.Reader. It blocks until there is an event.
func (b *subscription) Read(p []byte) (int, error) {
	for len(b.frame) == 0 {
		if b.ended {
			return 0, io.EOF
		}
		frame, err := b.next()
		if err != nil {
			return 0, err
		}
		if b.edit != nil {
			if frame, err = b.edit(b.events, frame); err != nil {
				return 0, err
			}
		}
		b.events++
		b.frame = frame
	}
	n := copy(p, b.frame)
	b.frame = b.frame[n:]
	return n, nil
}

// next waits for the next event and returns its frame.
func (b *subscription) next() ([]byte, error) {
	idle := time.Now().Add(idleEventEvery)
	for {
		frame, changed, at := b.look(!time.Now().Before(idle))
		if frame != nil || b.ended {
			return frame, nil
		}
		if at.IsZero() || idle.Before(at) {
			at = idle
		}
		if b.due.Before(at) {
			at = b.due
		}
		timer := time.NewTimer(time.Until(at))
		select {
		case <-changed:
		case <-timer.C:
		case <-b.closed:
			timer.Stop()
			return nil, io.ErrClosedPipe
		case <-b.ctx.Done():
			timer.Stop()
			return nil, context.Cause(b.ctx)
		}
		timer.Stop()
	}
}

// look makes an event of what there is for the subscription, or returns what to
// wait for: a change of the shard, or a time (zero: any). idle: an event
// without records is due.
func (b *subscription) look(idle bool) (frame []byte, changed <-chan struct{}, at time.Time) {
	s := b.server
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.settle()
	st := b.shard.stream
	if b.over == nil && s.streams[st.name] != st {
		b.over = s.streamNotFound(st.name, s.opts.Account)
	}
	switch {
	case b.over != nil:
		b.ended = true
		return appendException(nil, b.over, b.cbor), nil, time.Time{}
	case !time.Now().Before(b.due):
		b.ended = true
		return nil, nil, time.Time{}
	}
	debt := metered(b.consumer.pushed, b.shard.id)
	if !s.opts.NoLimits && !debt.allow(now, fanOutBytesASecond) {
		return nil, b.shard.changes(), time.Now().Add(debt.paid.Sub(now))
	}
	opts := s.opts
	opts.ScanSpan, opts.EmptyLastPage = 0, false
	p := b.shard.read(b.at, maxPageRecords, &opts, now)
	size := p.cut(maxEventBytes, now)
	if len(p.records) == 0 && !p.end && !idle {
		if st.pending != nil {
			at = time.Now().Add(max(time.Millisecond, st.pending.due.Sub(now)))
		}
		return nil, b.shard.changes(), at
	}
	debt.charge(now, size, fanOutBytesASecond)
	b.at, b.ended = p.next, p.end
	return appendEvent(nil, "SubscribeToShardEvent", b.event(&p), b.cbor), nil, time.Time{}
}

// cut leaves what one event carries, one record at least, and returns its size.
func (p *page) cut(most int, now time.Time) (size int) {
	for i := range p.records {
		if size += p.records[i].size; size > most && i > 0 {
			size -= p.records[i].size
			last := p.records[i-1]
			p.records, p.next, p.end, p.lag = p.records[:i], last.at.next(), false, max(1, now.UnixMilli()-last.at.ms)
			return size
		}
	}
	return size
}

// event is the JSON of an event.
func (b *subscription) event(p *page) []byte {
	body := []byte(`{"Records":[`)
	for i := range p.records {
		if i > 0 {
			body = append(body, ',')
		}
		body = p.records[i].appendJSON(body)
	}
	body = fmt.Appendf(body, `],"MillisBehindLatest":%d`, p.lag)
	if !p.end {
		at := place{p.next.ms, max(0, p.next.n-1)}
		return fmt.Appendf(body, `,"ContinuationSequenceNumber":"%s"}`, b.shard.sequenceAt(at))
	}
	out := pageOutput{children: b.shard.children}
	return append(append(append(body, `,"ChildShards":`...), out.childList()...), '}')
}
