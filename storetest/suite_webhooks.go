package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// RunWebhooks holds a Store to the contract of webhook.Store, and its operator
// to that of webhook.Letters. What Backend.Open and Backend.Operator return
// must implement them, and Backend must have ExpireLease.
func RunWebhooks(t *testing.T, h Harness) { runEach(t, h, webhookTests) }

var webhookTests = []test{
	{"webhooks: what is kept of a hook, every process sees", func(f *fixture) {
		a, b := f.hooks(), f.hooks()
		f.keeps(a, webhook.State{Name: "h"})
		report := webhook.Report{
			Process: "p", Last: webhook.Failed, LastAt: time.Unix(1_700_000_000, 5).UTC(), LastStatus: 503,
			LastError: "busy", LastEvent: event(shardA, 1).ID.String(),
			FailingSince: time.Unix(1_600_000_000, 0).UTC(), Failures: 7,
			NextAttempt: time.Unix(1_800_000_000, 0).UTC(), Blocked: 2,
		}
		pause := webhook.Pause{Since: time.Unix(1_650_000_000, 1).UTC(), By: webhook.ByReceiver, Why: "410 Gone"}
		f.must(a.ReportHook(f.soon(), "h", report))
		f.keeps(b, webhook.State{Name: "h", Report: report})
		f.must(b.PauseHook(f.soon(), "h", pause))
		f.must(a.PauseHook(f.soon(), "h", webhook.Pause{Since: time.Now(), By: webhook.ByOperator}))
		f.keeps(a, webhook.State{Name: "h", Pause: pause, Report: report})
		report = webhook.Report{Process: "q", Last: webhook.Delivered}
		f.must(b.ReportHook(f.soon(), "h", report))
		f.keeps(a, webhook.State{Name: "h", Pause: pause, Report: report})
		f.must(a.ResumeHook(f.soon(), "h"))
		f.must(a.ResumeHook(f.soon(), "h"))
		f.must(a.ResumeHook(f.soon(), "other"))
		f.keeps(b, webhook.State{Name: "h", Report: report})
		f.must(b.PauseHook(f.soon(), "g", pause))
		states, err := a.HookStates(f.soon())
		f.must(err)
		want := []webhook.State{{Name: "g", Pause: pause}, {Name: "h", Report: report}}
		if !reflect.DeepEqual(states, want) {
			f.t.Errorf("the states are %+v, want %+v", states, want)
		}
	}},
	{"webhooks: a consumer gets another filter", func(f *fixture) {
		_, q := f.producer(3)
		hooks := f.hooks()
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		f.must(hooks.SetFilter(f.soon(), "a", queue.Filter{Types: []string{"nothing"}}))
		if info := f.consumers(q)[0]; info.Pending != 0 || len(info.Filter.Types) != 1 {
			f.t.Errorf("the consumer is %+v with a filter that drops all", info)
		}
		f.must(hooks.SetFilter(f.soon(), "a", queue.Filter{}))
		f.reads(f.open(q, "a"), 1, 3)
		if hooks.SetFilter(f.soon(), "a", queue.Filter{Refs: []string{"^("}}) == nil {
			f.t.Error("a filter that cannot be read was set")
		}
		if err := hooks.SetFilter(f.soon(), "b", queue.Filter{}); !errors.Is(err, queue.ErrNoConsumer) {
			f.t.Errorf("the filter of a consumer that is not there: %v", err)
		}
	}},
	{"webhooks: who reads as a consumer", func(f *fixture) {
		_, q := f.producer(0)
		hooks := f.hooks()
		reader := func() string {
			f.t.Helper()
			name, err := hooks.Reader(f.soon(), "a")
			f.must(err)
			return name
		}
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		if name := reader(); name != "" {
			f.t.Errorf("%q reads", name)
		}
		c := f.open(q, "a")
		if name := reader(); name == "" || name != f.consumers(q)[0].Reader {
			f.t.Errorf("%q reads, want %q", name, f.consumers(q)[0].Reader)
		}
		f.must(c.Close(f.soon()))
		if name := reader(); name != "" {
			f.t.Errorf("%q reads after it has stopped", name)
		}
	}},
	{"webhooks: a dead letter has the whole event, and one stands for each hook", func(f *fixture) {
		term, q := f.producer(0)
		s := step(shardA, 1, 2)
		s.Entries[0].Payload = bytes.Repeat([]byte("x"), 3*gerritstream.MaxDeadLetterBytes)
		s.Entries[0].Sub, s.Entries[0].Event = 3, gerritstream.Event{
			Type: "t", Project: "p", Ref: "r", Change: 7, Created: time.Unix(1_700_000_000, 0).UTC(),
			Attributes: map[string]string{"key": "value"},
		}
		f.commit(term, s)
		h, g := f.reading(q, "h"), f.reading(q, "g")
		before := time.Now().Truncate(time.Millisecond)
		f.must(h.store.PutAside(f.soon(), h.letter(0)))
		f.must(h.store.PutAside(f.soon(), h.letter(1)))
		second := h.letter(0)
		second.Detail = "another"
		f.must(h.store.PutAside(f.soon(), second))
		f.must(g.store.PutAside(f.soon(), g.letter(0)))
		letters := f.letters()
		f.holds(letters, "g A1", "h A2", "h A1")
		of, err := letters.HookLettersOf(f.soon(), s.Entries[0].ID)
		f.must(err)
		if len(of) != 2 || of[0].Letter.Hook != "g" || !reflect.DeepEqual(of[1].Letter, h.letter(0)) {
			f.t.Errorf("the letters of an event are %.700v", of)
		}
		if at := of[1].StoredAt; at.Before(before) || at.After(time.Now().Add(time.Second)) {
			f.t.Errorf("the letter is of %v", at)
		}
		f.counts(h.store, "h", 2, 2)
		f.counts(h.store, "g", 1, 1)
	}},
	{"webhooks: more dead letters than one read takes", func(f *fixture) {
		_, q := f.producer(60)
		h := f.reading(q, "h")
		var want []gerritstream.EventID
		for i := range h.events {
			f.must(h.store.PutAside(f.soon(), h.letter(i)))
			want = append(want, h.events[i].Entry.ID)
		}
		var got []gerritstream.EventID
		for l, err := range f.letters().HookLetters(f.soon()) {
			f.must(err)
			got = append(got, l.Letter.Event.Entry.ID)
		}
		if slices.Reverse(got); !slices.Equal(got, want) {
			f.t.Errorf("%d letters, want %d in the order of their putting aside", len(got), len(want))
		}
	}},
	{"webhooks: without the lease nothing is put aside", func(f *fixture) {
		_, q := f.producer(2)
		h := f.reading(q, "h")
		f.state.ExpireLease(queue.WebhookConsumer("h"))
		if err := h.store.PutAside(f.soon(), h.letter(0)); !errors.Is(err, queue.ErrLeaseLost) {
			f.t.Errorf("put aside with a lost lease: %v", err)
		}
		other := f.open(queueOf(f.state.Open()), queue.WebhookConsumer("h"))
		defer func() { f.must(other.Close(f.soon())) }()
		if err := h.store.PutAside(f.soon(), h.letter(0)); !errors.Is(err, queue.ErrLeaseLost) {
			f.t.Errorf("put aside while another process reads: %v", err)
		}
		f.holds(f.letters())
	}},
	{"webhooks: a dead letter that is redriven is delivered after all", func(f *fixture) {
		term, q := f.producer(2)
		h := f.reading(q, "h")
		f.must(h.store.PutAside(f.soon(), h.letter(0)))
		f.must(h.consumer.Ack(f.soon(), h.events[1].Number))
		letters := f.letters()
		f.must(letters.RedriveHookLetter(f.soon(), h.key(0)))
		f.holds(letters)
		f.counts(h.store, "h", 0, 1)
		if err := letters.RedriveHookLetter(f.soon(), h.key(0)); !errors.Is(err, gerritstream.ErrNoDeadLetter) {
			f.t.Errorf("redriven twice: %v", err)
		}
		f.commit(term, step(shardA, 3, 3))
		got, err := h.consumer.Next(f.soon(), 10)
		f.must(err)
		f.numberedAs(got, "A1+", "A3")
		if d := got[0].Entry; !reflect.DeepEqual(d, h.events[0].Entry) || got[0].Queued.Before(h.events[0].Queued) {
			f.t.Errorf("redriven as\n%+v of %v, want\n%+v", d, got[0].Queued, h.events[0].Entry)
		}
		h.events = got
		f.must(h.store.PutAside(f.soon(), h.letter(0)))
		f.must(h.consumer.Ack(f.soon(), got[1].Number))
		f.holds(letters, "h A1")
		f.counts(h.store, "h", 1, 2)
		f.must(letters.RedriveHookLetter(f.soon(), h.key(0)))
		f.handsOut(h.consumer, "A1+")
	}},
	{"webhooks: a redrive before the acknowledgement loses nothing", func(f *fixture) {
		_, q := f.producer(2)
		h := f.reading(q, "h")
		letters := f.letters()
		f.must(h.store.PutAside(f.soon(), h.letter(0)))
		f.must(letters.RedriveHookLetter(f.soon(), h.key(0)))
		f.must(h.consumer.Ack(f.soon(), h.events[1].Number))
		got, err := h.consumer.Next(f.soon(), 10)
		f.must(err)
		f.numberedAs(got, "A1+")
		h.events = got
		f.must(h.store.PutAside(f.soon(), h.letter(0)))
		f.must(letters.RedriveHookLetter(f.soon(), h.key(0)))
		f.must(h.consumer.Ack(f.soon(), got[0].Number))
		f.handsOut(h.consumer, "A1+")
	}},
	{"webhooks: dead letters are dropped, and go with their hook", func(f *fixture) {
		_, q := f.producer(3)
		h, g := f.reading(q, "h"), f.reading(q, "g")
		for _, l := range []*hookReader{h, g} {
			for i := range l.events {
				f.must(l.store.PutAside(f.soon(), l.letter(i)))
			}
		}
		letters := f.letters()
		n, err := letters.DropHookLetters(f.soon(),
			[]webhook.LetterKey{h.key(1), h.key(1), {Hook: "x", ID: h.key(0).ID}})
		f.must(err)
		if n != 1 {
			f.t.Errorf("%d were dropped, want 1", n)
		}
		f.holds(letters, "g A3", "g A2", "g A1", "h A3", "h A1")
		f.counts(h.store, "h", 2, 3)
		f.must(h.consumer.Close(f.soon()))
		f.must(h.store.PauseHook(f.soon(), "h", webhook.Pause{Since: time.Now()}))
		f.must(q.Remove(f.soon(), queue.WebhookConsumer("h")))
		f.holds(letters, "g A3", "g A2", "g A1")
		f.keeps(h.store, webhook.State{Name: "h"})
		f.counts(g.store, "g", 3, 3)
	}},
	{"webhooks: a dead letter of a hook that was never made stays", func(f *fixture) {
		_, q := f.producer(1)
		f.reading(q, "h")
		err := f.letters().RedriveHookLetter(f.soon(), webhook.LetterKey{Hook: "g", ID: event(shardA, 1).ID})
		if !errors.Is(err, gerritstream.ErrNoDeadLetter) {
			f.t.Errorf("redriven: %v", err)
		}
	}},
	{"webhooks: fault: putting aside", func(f *fixture) {
		for i, fault := range everyFault {
			_, q := f.producerOf(gerritstream.ShardID(fmt.Sprint("shard-", i)), 1)
			hook := fmt.Sprint("h", i)
			victim := f.readingAs(f.state.Open(), hook)
			f.state.FailNext(PointWebhooks, fault)
			f.fails(victim.store.PutAside(f.soon(), victim.letter(0)))
			if !fault.crashes() {
				f.must(victim.consumer.Close(f.soon()))
			}
			// Whoever comes next has the event and maybe its letter.
			next := f.openHook(q, hook)
			of, err := f.letters().HookLettersOf(f.soon(), next.events[0].Entry.ID)
			f.must(err)
			if held := len(of) == 1; held != fault.applied() {
				f.t.Errorf("%s: a letter is held: %v", fault, held)
			}
			f.must(next.store.PutAside(f.soon(), next.letter(0)))
			f.must(next.consumer.Ack(f.soon(), next.events[0].Number))
			f.counts(next.store, hook, 1, 1)
		}
	}},
	{"webhooks: fault: redriving", func(f *fixture) {
		for i, fault := range []Fault{Refuse, ApplyButError} {
			_, q := f.producerOf(gerritstream.ShardID(fmt.Sprint("shard-", i)), 1)
			h := f.reading(q, fmt.Sprint("h", i))
			f.must(h.store.PutAside(f.soon(), h.letter(0)))
			f.must(h.consumer.Ack(f.soon(), h.events[0].Number))
			letters := f.letters()
			f.state.FailNext(PointRedrive, fault)
			f.fails(letters.RedriveHookLetter(f.soon(), h.key(0)))
			err := letters.RedriveHookLetter(f.soon(), h.key(0))
			if gone := errors.Is(err, gerritstream.ErrNoDeadLetter); gone != fault.applied() {
				f.t.Errorf("%s: repeated: %v", fault, err)
			}
			got, err := h.consumer.Next(f.soon(), 10)
			f.must(err)
			if len(got) != 1 || got[0].Entry.ID != h.events[0].Entry.ID {
				f.t.Errorf("%s: %d events come", fault, len(got))
			}
		}
	}},
}

// hooks opens a process, as package webhook sees it.
func (f *fixture) hooks() webhook.Store { return hooksOf(f.state.Open()) }

func hooksOf(store any) webhook.Store {
	return store.(webhook.Store) //nolint:errcheck,forcetypeassert // RunWebhooks is for such stores
}

// letters opens an operator, as package webhook sees it.
func (f *fixture) letters() webhook.Letters {
	return f.openOperator().(webhook.Letters) //nolint:errcheck,forcetypeassert // likewise
}

// hookReader is a process that reads as a hook, and what it was handed out.
type hookReader struct {
	store    webhook.Store
	hook     string
	consumer *queue.Consumer
	events   []queue.Event
}

// reading registers a hook at the beginning of the queue, and reads all there
// is.
func (f *fixture) reading(q queue.Store, hook string) *hookReader {
	f.t.Helper()
	f.must(q.Register(f.soon(), queue.WebhookConsumer(hook), queue.Filter{}, 0))
	return f.openHook(q, hook)
}

// readingAs registers a hook behind all but the last event, and reads that.
func (f *fixture) readingAs(store gerritstream.Store, hook string) *hookReader {
	f.t.Helper()
	q := queueOf(store)
	_, newest, err := q.Bounds(f.soon())
	f.must(err)
	f.must(q.Register(f.soon(), queue.WebhookConsumer(hook), queue.Filter{}, newest-1))
	return f.openHook(q, hook)
}

func (f *fixture) openHook(q queue.Store, hook string) *hookReader {
	f.t.Helper()
	h := &hookReader{store: hooksOf(q), hook: hook, consumer: f.open(q, queue.WebhookConsumer(hook))}
	var err error
	h.events, err = h.consumer.Next(f.soon(), 100)
	f.must(err)
	return h
}

// letter returns the dead letter of an event that was handed out.
func (h *hookReader) letter(i int) webhook.Letter {
	return webhook.Letter{Hook: h.hook, Event: h.events[i], Detail: "it said no"}
}

func (h *hookReader) key(i int) webhook.LetterKey {
	return webhook.LetterKey{Hook: h.hook, ID: h.events[i].Entry.ID}
}

// keeps checks what is kept of a hook.
func (f *fixture) keeps(store webhook.Store, want webhook.State) {
	f.t.Helper()
	got, err := store.HookState(f.soon(), want.Name)
	f.must(err)
	if !reflect.DeepEqual(got, want) {
		f.t.Errorf("kept: %+v, want %+v", got, want)
	}
}

// counts checks how many dead letters of a hook are held, and how many there
// were.
func (f *fixture) counts(store webhook.Store, hook string, held, ever int64) {
	f.t.Helper()
	s, err := store.HookState(f.soon(), hook)
	f.must(err)
	if s.DeadLetters != held || s.GivenUp != ever {
		f.t.Errorf("%s has %d dead letters of %d, want %d of %d", hook, s.DeadLetters, s.GivenUp, held, ever)
	}
}

// holds checks which dead letters of hooks are held, newest first: "h A3" is
// number 3 of shard A for h.
func (f *fixture) holds(letters webhook.Letters, want ...string) {
	f.t.Helper()
	var got []string
	for l, err := range letters.HookLetters(f.soon()) {
		f.must(err)
		got = append(got, l.Letter.Hook+" "+eventName(&l.Letter.Event.Entry))
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("the letters are %v, want %v", got, want)
	}
}

// numberedAs checks events by their names, as in handsOut.
func (f *fixture) numberedAs(got []queue.Event, want ...string) {
	f.t.Helper()
	var names []string
	for i := range got {
		name := eventName(&got[i].Entry)
		if got[i].Replayed {
			name += "+"
		}
		names = append(names, name)
	}
	if !slices.Equal(names, want) {
		f.t.Errorf("got %v, want %v", names, want)
	}
}

// eventName returns "A3" for number 3 of shard A.
func eventName(e *gerritstream.Entry) string {
	for n := 1; n < 100; n++ {
		switch e.ID {
		case event(shardA, n).ID:
			return fmt.Sprint("A", n)
		case event(shardB, n).ID:
			return fmt.Sprint("B", n)
		}
	}
	return "?"
}
