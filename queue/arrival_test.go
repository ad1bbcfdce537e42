package queue

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

// simulation is a stream whose shards lag, stall, end and split, a program that
// reads them into a queue, and a consumer by arrival.
type simulation struct {
	t      *testing.T
	random *rand.Rand // of the stream
	pauses *rand.Rand // of the consumer
	store  *fakeStore
	hold   time.Duration
	began  time.Time

	shards []*simulatedShard // that may still bring events
	shared time.Time         // the frontier, as it was shared last
	queued map[int64]time.Time
	keys   map[int64]int64 // by number
	last   map[gerritstream.ShardID]int64

	handed []handing
	acked  map[int64]bool
}

// simulatedShard is a shard. Its records arrive, and are queued after a delay.
type simulatedShard struct {
	id      gerritstream.ShardID
	waiting []time.Time // arrivals of what is not queued yet
	until   time.Time   // what arrived before is queued
	lagging time.Time   // nothing is queued before
	opened  time.Time
	closed  bool
	known   time.Time // a child: when the program begins with it; zero: its parent is not read to its end
	parent  *simulatedShard
}

// handing is an event as the consumer got it.
type handing struct {
	event   Event
	at      time.Time
	session int
}

const simulationStep = 50 * time.Millisecond

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), store: &fakeStore{t: t}, hold: 5 * time.Second, began: time.Now(),
		queued: map[int64]time.Time{}, keys: map[int64]int64{}, last: map[gerritstream.ShardID]int64{},
		acked: map[int64]bool{}, pauses: rand.New(rand.NewPCG(seed, 1)),
	}
	for i := range 4 {
		s.shards = append(s.shards, &simulatedShard{id: gerritstream.ShardID(fmt.Sprint("s", i)), until: time.Now()})
	}
	s.store.front = func() time.Time { return s.shared }
	s.store.pause = func() { time.Sleep(time.Duration(s.pauses.IntN(60)) * time.Millisecond) }
	return s
}

// step lets a twentieth of a second pass. traffic: records arrive.
func (s *simulation) step(i int, traffic bool) {
	time.Sleep(simulationStep)
	now := time.Now()
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for _, shard := range slices.Clone(s.shards) {
		switch s.random.IntN(400) {
		case 0:
			shard.lagging = now.Add(time.Duration(s.random.IntN(3000)) * time.Millisecond)
		case 1:
			shard.lagging = now.Add(time.Duration(s.random.IntN(12000)) * time.Millisecond)
		case 2:
			if traffic && !shard.closed && len(s.shards) < 12 {
				s.split(shard)
			}
		}
		if traffic && !shard.closed && s.random.IntN(4) == 0 { // its clock goes back a little, now and then
			arrived := now.Add(-time.Duration(s.random.IntN(150)) * time.Millisecond)
			if arrived.Before(shard.opened) {
				arrived = shard.opened
			}
			shard.waiting = append(shard.waiting, arrived)
		}
		s.read(shard, now)
	}
	if i%5 == 0 {
		s.shared = time.Time{}
		for _, shard := range s.shards {
			switch {
			case shard.parent != nil && shard.known.IsZero(): // its parent stands for it
			case s.shared.IsZero() || shard.until.Before(s.shared):
				s.shared = shard.until
			}
		}
	}
}

// split closes a shard. Its children are read once it is read to its end, and a
// moment later.
func (s *simulation) split(shard *simulatedShard) {
	shard.closed = true
	for range 2 {
		id := gerritstream.ShardID(fmt.Sprintf("%s.%d", shard.id, len(s.shards)))
		s.shards = append(s.shards, &simulatedShard{id: id, parent: shard, opened: time.Now()})
	}
}

// read queues what has arrived in a shard, unless it lags.
func (s *simulation) read(shard *simulatedShard, now time.Time) {
	if p := shard.parent; p != nil && !(p.closed && slices.Contains(s.shards, p)) && shard.known.IsZero() {
		shard.known, shard.until = now, p.until
		shard.lagging = now.Add(time.Duration(s.random.IntN(800)) * time.Millisecond)
	}
	if shard.parent != nil && shard.known.IsZero() || now.Before(shard.lagging) || s.random.IntN(4) == 0 {
		return
	}
	for _, arrived := range shard.waiting {
		s.store.add("a", arrived)
		e := &s.store.events[len(s.store.events)-1]
		e.Entry.Shard = shard.id
		s.queued[e.Number] = now
		s.keys[e.Number] = max(arrived.UnixMilli(), s.last[shard.id])
		s.last[shard.id] = s.keys[e.Number]
		if arrived.After(shard.until) {
			shard.until = arrived
		}
	}
	shard.waiting = nil
	if shard.closed {
		// It stands for its children until they are known.
		if s.random.IntN(10) == 0 {
			s.shards = slices.DeleteFunc(s.shards, func(x *simulatedShard) bool { return x == shard })
			for _, child := range s.shards {
				if child.parent == shard {
					s.read(child, now)
				}
			}
		}
		return
	}
	shard.until = now.Add(-200 * time.Millisecond)
}

// consume reads until ctx ends, and is closed and opened again now and then.
func (s *simulation) consume(ctx context.Context, restarts bool) {
	for session := 0; ctx.Err() == nil; session++ {
		c, err := Open(ctx, s.store, "c", ByArrival(s.hold))
		if err != nil {
			s.t.Error(err)
			return
		}
		for ctx.Err() == nil && !(restarts && s.pauses.IntN(200) == 0) {
			events, err := c.Next(ctx, 1+s.pauses.IntN(20))
			if err != nil {
				break
			}
			for _, e := range events {
				s.handed = append(s.handed, handing{e, time.Now(), session})
			}
			s.acknowledge(c, events)
		}
	}
}

// acknowledge acknowledges what was handed out, or some of it, or nothing.
func (s *simulation) acknowledge(c *Consumer, events []Event) {
	var numbers []int64
	session, before := s.handed[len(s.handed)-1].session, false
	for _, e := range events {
		if s.pauses.IntN(3) > 0 {
			numbers = append(numbers, e.Number)
		}
	}
	var err error
	switch s.pauses.IntN(3) {
	case 0:
		last := events[s.pauses.IntN(len(events))].Number
		err = c.Ack(context.Background(), last)
		for i := len(s.handed) - 1; i >= 0 && s.handed[i].session == session; i-- {
			n := s.handed[i].event.Number
			before = before || n == last
			s.acked[n] = s.acked[n] || before
		}
	case 1:
		err = c.Done(context.Background(), numbers...)
		for _, n := range numbers {
			s.acked[n] = true
		}
	}
	if err != nil {
		s.t.Error(err)
	}
}

// judge compares what was handed out with what is promised.
func (s *simulation) judge(restarts bool) {
	passed, session, late := int64(0), 0, 0
	var key, number int64 // of the event before
	came := map[int64]bool{}
	inShard := map[gerritstream.ShardID]int64{}
	for _, h := range s.handed {
		n := h.event.Number
		if h.session != session {
			session, passed, key = h.session, 0, 0
			clear(inShard)
		}
		if inShard[h.event.Entry.Shard] > n {
			s.t.Errorf("event %d came after %d of its shard", n, inShard[h.event.Entry.Shard])
		}
		inShard[h.event.Entry.Shard] = n
		if s.keys[n] == key && n < number {
			s.t.Errorf("event %d came after %d, which arrived at the same time", n, number)
		}
		key, number = s.keys[n], n
		if key < passed != h.event.Late && !restarts {
			s.t.Errorf("event %d arrived %d ms before another and is late: %v", n, passed-key, h.event.Late)
		} else if key < passed && !h.event.Late {
			s.t.Errorf("event %d arrived %d ms before another and is not late", n, passed-key)
		}
		if h.event.Late && !restarts {
			late++
			s.justify(n)
			if held := h.at.Sub(s.queued[n]); held > 500*time.Millisecond {
				s.t.Errorf("event %d is late, and was held back for %v", n, held)
			}
		}
		if held := h.at.Sub(s.queued[n]); held > s.hold+700*time.Millisecond && !came[n] && !restarts {
			s.t.Errorf("event %d was held back for %v", n, held)
		}
		passed, came[n] = max(passed, s.keys[n]), true
	}
	if len(came) != len(s.store.events) {
		s.t.Errorf("%d events came of %d", len(came), len(s.store.events))
	}
	s.t.Logf("%d events, %d late, %d shards", len(came), late, len(s.last))
	if late == 0 && !restarts {
		s.t.Error("no event was late: no shard stalled")
	}
	if late > len(came)/5 {
		s.t.Errorf("%d events of %d were late", late, len(came))
	}
}

// justify checks that an event that is late was queued longer after one that
// arrived later than that was to be held back.
func (s *simulation) justify(late int64) {
	for n, key := range s.keys {
		if key > s.keys[late] && s.queued[late].Sub(s.queued[n]) >= s.hold-simulationStep {
			return
		}
	}
	s.t.Errorf("event %d is late, and was queued in time", late)
}

// Whatever the shards do: in order, or late and marked; held back no longer
// than allowed; and late only if it had to be. With restarts, nothing is
// skipped and nothing that was acknowledged comes again.
func TestArrivalInSimulation(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("restarts=%v/%d", restarts, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSimulation(t, seed)
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan struct{})
					go func() { defer close(done); s.consume(ctx, restarts) }()
					for i := range 2400 {
						s.step(i, i < 2000)
					}
					cancel()
					<-done
					s.drain()
					s.judge(restarts)
				})
			})
		}
	}
}

// drain hands out what is left, to the last event: what was not acknowledged.
func (s *simulation) drain() {
	c, err := Open(s.t.Context(), s.store, "c", ByArrival(0))
	if err != nil {
		s.t.Fatal(err)
	}
	session, came := 1<<20, map[int64]bool{}
	for {
		events, err := c.Poll(s.t.Context(), 100)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			came[e.Number] = true
			if s.acked[e.Number] {
				s.t.Errorf("event %d was acknowledged and came again", e.Number)
			}
			if e.Late {
				continue // by what was acknowledged before
			}
			s.handed = append(s.handed, handing{e, s.queued[e.Number], session})
		}
	}
	for n := range s.queued {
		if !s.acked[n] && !came[n] {
			s.t.Errorf("event %d was not acknowledged and did not come again", n)
		}
	}
}

// The frontier is read before the queue: what came into the queue meanwhile is
// not taken for late.
func TestTheFrontierIsReadFirst(t *testing.T) {
	store, began := &fakeStore{t: t}, time.Now()
	store.add("a", began.Add(10*time.Millisecond))
	store.front = func() time.Time {
		if n := len(store.events); n < 5 {
			store.add("a", began.Add(time.Duration(10-n)*time.Millisecond))
			store.events[n].Entry.Shard = gerritstream.ShardID(fmt.Sprint(n))
		}
		return began.Add(20 * time.Millisecond)
	}
	c, err := Open(t.Context(), store, "c", ByArrival(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for came := 0; came < len(store.events); {
		events, err := c.Poll(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Late {
				t.Errorf("event %d is late", e.Number)
			}
		}
		came += len(events)
	}
}

// A backlog is sorted within what is held back, and no more than that is held.
func TestABacklogByArrivalIsBounded(t *testing.T) {
	store := &fakeStore{t: t}
	const events = 3 * maxHeld
	began := time.Now().Add(-time.Hour)
	for i := range events {
		shard := i % 2
		store.add("a", began.Add(time.Duration(i-shard*(maxHeld-page))*time.Millisecond)) // the other shard lags
		store.events[i].Entry.Shard = gerritstream.ShardID(fmt.Sprint(shard))
	}
	c, err := Open(t.Context(), store, "c", ByArrival(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	last, came := time.Time{}, 0
	for came < events-maxHeld {
		got, err := c.Poll(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		if held := len(c.arrivals.held); held > maxHeld {
			t.Fatalf("%d events are held back", held)
		}
		for _, e := range got {
			if e.Entry.Arrived.Before(last) || e.Late {
				t.Fatalf("event %d arrived %v before the one before it; late: %v", e.Number,
					last.Sub(e.Entry.Arrived), e.Late)
			}
			last = e.Entry.Arrived
		}
		came += len(got)
		if err := c.Ack(t.Context(), got[len(got)-1].Number); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(store.done.Beyond); n > maxHeld {
		t.Errorf("%d ranges are stored", n)
	}
}

// Payloads count, too.
func TestHeldBytesAreBounded(t *testing.T) {
	store := &fakeStore{t: t}
	for i := range 600 {
		store.add("a", time.Now().Add(-time.Duration(i)*time.Second))
		store.events[i].Entry.Shard = gerritstream.ShardID(fmt.Sprint(i))
		store.events[i].Entry.Payload = make([]byte, 1<<20)
	}
	c, err := Open(t.Context(), store, "c", ByArrival(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	events, err := c.Poll(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) == 0 || !slices.IsSortedFunc(events, func(a, b Event) int {
		return cmp.Compare(a.Entry.Arrived.UnixMilli(), b.Entry.Arrived.UnixMilli())
	}) {
		t.Errorf("%d events came, or not in order", len(events))
	}
}
