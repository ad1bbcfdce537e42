package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
	"github.com/gerritstream/gerritstream/webhook/webhooktest"
)

// scene is a queue, a hook and its receiver, in a bubble.
type scene struct {
	place
	t      *testing.T
	m      *memory
	hook   webhook.Hook
	cancel map[*process]func() // stops a process' dispatcher, and waits
	fail   func(what string, applied bool) error
}

// newScene returns a scene whose hook began before the first event. Nothing may
// be acknowledged but what the receiver took or what was put aside.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{place: newPlace(t), t: t, m: newMemory(t), hook: hook(t), cancel: map[*process]func(){}}
	s.m.consumers[queue.WebhookConsumer("ci")] = &consumer{}
	s.m.judge = func(e *queue.Event) bool { return s.Took(e.Entry.ID.String()) }
	t.Cleanup(func() {
		for p := range s.cancel {
			s.stop(p)
		}
	})
	return s
}

// start runs a dispatcher in a process of its own.
func (s *scene) start(name string, more ...func(*webhook.Config)) *process {
	s.t.Helper()
	p := s.m.process(name)
	p.fail = s.fail
	c := webhook.Config{Hook: s.hook, Store: p, Sender: s.config(), Process: name}
	for _, f := range more {
		f(&c)
	}
	d, err := webhook.New(c)
	must(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	s.cancel[p] = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	}
	return p
}

// stop stops a process as SIGTERM does.
func (s *scene) stop(p *process) {
	s.cancel[p]()
	delete(s.cancel, p)
}

// kill ends a process as SIGKILL does.
func (s *scene) kill(p *process) {
	p.kill()
	s.stop(p)
}

// add queues events first to last, of a number of changes in turn.
func (s *scene) add(first, last int64, changes int64) {
	for n := first; n <= last; n++ {
		s.m.add(event(n, 1+n%changes))
	}
}

// pending returns the numbers of the events that are not acknowledged.
func (s *scene) pending() (numbers []int64) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	c := s.m.consumers[queue.WebhookConsumer("ci")]
	matcher, err := c.filter.Matcher()
	must(s.t, err)
	for i := range s.m.events {
		if e := &s.m.events[i]; !c.done.Has(e.Number) && matcher.Keeps(&e.Entry.Event) {
			numbers = append(numbers, e.Number)
		}
	}
	return numbers
}

// drained waits until nothing is pending, in the bubble's time.
func (s *scene) drained(within time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(within); len(s.pending()) > 0; time.Sleep(within / 100) {
		if time.Now().After(end) {
			s.t.Fatalf("not within %v: %d are pending; the state is %+v", within, len(s.pending()), s.state())
		}
	}
}

func (s *scene) state() webhook.State {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.m.states["ci"]
}

// aside returns the numbers of the events that were put aside, ascending.
func (s *scene) aside() (numbers []int64) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for _, l := range s.m.letters {
		numbers = append(numbers, l.Event.Number)
	}
	slices.Sort(numbers)
	return numbers
}

// inOrder checks that of each key the events came, the first times that each
// was taken, in the order of the queue; and returns how many were.
func (s *scene) inOrder(key func(*queue.Event) string) int {
	s.t.Helper()
	byID := map[string]*queue.Event{}
	for i := range s.m.events {
		byID[s.m.events[i].Entry.ID.String()] = &s.m.events[i]
	}
	last, seen := map[string]int64{}, map[string]bool{}
	for _, d := range s.Deliveries() {
		e := byID[d.ID]
		if e == nil {
			s.t.Fatalf("an event %q that nobody queued", d.ID)
		}
		if string(d.Body) != string(e.Entry.Payload) {
			s.t.Errorf("event %d has another payload", e.Number)
		}
		if seen[d.ID] || d.Status/100 != 2 {
			continue
		}
		seen[d.ID] = true
		k := key(e)
		if e.Number < last[k] {
			s.t.Errorf("event %d of %q came after %d", e.Number, k, last[k])
		}
		last[k] = e.Number
	}
	return len(seen)
}

func byChange(e *queue.Event) string { return fmt.Sprint(e.Entry.Event.Change) }

// oneByOne checks that no two requests of a key were under way at once.
func (s *scene) oneByOne(key func(*queue.Event) string) {
	s.t.Helper()
	ended := map[string]time.Time{}
	byID := map[string]*queue.Event{}
	for i := range s.m.events {
		byID[s.m.events[i].Entry.ID.String()] = &s.m.events[i]
	}
	for _, d := range s.Deliveries() {
		k := key(byID[d.ID])
		if d.Began.Before(ended[k]) {
			s.t.Errorf("event %d began before the one before it in %q ended", byID[d.ID].Number, k)
		}
		ended[k] = d.Ended
	}
}

// Everything is delivered once, in the order of each key, one at a time there
// and no more than the concurrency in all.
func TestDelivers(t *testing.T) {
	keys := map[webhook.Order]func(*queue.Event) string{
		webhook.ByChange: byChange, webhook.Unordered: func(e *queue.Event) string { return fmt.Sprint(e.Number) },
		webhook.ByProject: func(e *queue.Event) string { return e.Entry.Event.Project },
		webhook.ByShard:   func(e *queue.Event) string { return string(e.Entry.Shard) },
	}
	for order, key := range keys {
		t.Run(string(order), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScene(t)
				s.hook.Order, s.hook.Concurrency = order, 3
				s.Always(webhooktest.After(time.Second, webhooktest.Answer(200)))
				s.start("a")
				s.add(1, 60, 7)
				s.drained(65 * time.Second)
				if n := s.inOrder(key); n != 60 || len(s.Deliveries()) != 60 {
					t.Errorf("%d events in %d deliveries", n, len(s.Deliveries()))
				}
				s.oneByOne(key)
				most := map[bool]int{true: 3, false: 1}[order == webhook.ByChange || order == webhook.Unordered]
				if s.Most() != most {
					t.Errorf("%d requests at once, want %d", s.Most(), most)
				}
			})
		})
	}
}

// What is queued comes at once, whatever else is under way.
func TestDeliversAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.React(func(n int, _ *webhooktest.Delivery) webhooktest.Reaction {
			if n == 0 {
				return webhooktest.After(20*time.Second, webhooktest.Answer(200))
			}
			return nil
		})
		s.start("a")
		s.add(1, 1, 9)
		time.Sleep(5 * time.Second)
		s.add(2, 2, 9)
		time.Sleep(200 * time.Millisecond)
		if pending := s.pending(); len(pending) != 1 || pending[0] != 1 {
			t.Errorf("pending: %v", pending)
		}
	})
}

// A receiver that is down for hours is tried ever more rarely, and then gets
// everything. What is known of it is there for other processes to see.
func TestReceiverIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.network.Stop(public)
		s.start("a")
		s.add(1, 1200, 50)
		down := time.Now()
		time.Sleep(3 * time.Hour)
		if n := len(s.network.Dialled()); n < 10 || n > 18 {
			t.Errorf("%d attempts within three hours", n)
		}
		report := s.state().Report
		if report.FailingSince.Sub(down) > time.Second || !report.NextAttempt.After(time.Now()) ||
			report.Process != "a" || report.Last != webhook.Failed || !strings.Contains(report.LastError, "refused") {
			t.Errorf("the report is %+v", report)
		}
		s.network.Listen(public, s.Receiver)
		s.drained(time.Hour + time.Minute)
		if n := s.inOrder(byChange); n != 1200 || len(s.Deliveries()) != 1200 {
			t.Errorf("%d events in %d deliveries", n, len(s.Deliveries()))
		}
		s.oneByOne(byChange)
		time.Sleep(20 * time.Second)
		if report := s.state().Report; !report.FailingSince.IsZero() || report.Last != webhook.Delivered {
			t.Errorf("the report is %+v", report)
		}
	})
}

// A receiver says when it wants the next request, and gets none before.
func TestRetryAfterIsObeyed(t *testing.T) {
	for _, asked := range []time.Duration{time.Second, 2 * time.Minute, 3 * time.Hour} {
		bubble(t, func(t *testing.T) {
			s := newScene(t)
			s.React(func(n int, _ *webhooktest.Delivery) webhooktest.Reaction {
				if n < 4 {
					return webhooktest.Answer(429, "Retry-After", fmt.Sprint(int(asked.Seconds())))
				}
				return nil
			})
			s.start("a")
			s.add(1, 20, 20)
			s.drained(2*asked + time.Minute)
			all := s.Deliveries()
			if quiet := all[4].Began.Sub(all[3].Ended); quiet < asked || quiet > asked+time.Second {
				t.Errorf("the next came after %v, want %v", quiet, asked)
			}
			s.inOrder(byChange)
		})
	}
}

// An event that the receiver refuses is sent again a few times and then put
// aside; only what comes after it in its own key waits.
func TestRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.React(func(_ int, d *webhooktest.Delivery) webhooktest.Reaction {
			if d.ID == idOf(3) {
				return webhooktest.Answer(422)
			}
			return nil
		})
		s.add(1, 100, 10)
		s.start("a")
		time.Sleep(time.Second)
		if pending := s.pending(); len(pending) != 10 || pending[0] != 3 {
			t.Errorf("pending: %v, want those of one change", pending)
		}
		s.drained(20 * time.Minute)
		if aside := s.aside(); !slices.Equal(aside, []int64{3}) {
			t.Errorf("put aside: %v", aside)
		}
		tries := 0
		for _, d := range s.Deliveries() {
			if d.Status == 422 {
				tries++
			}
		}
		if n := s.inOrder(byChange); n != 99 || tries != 8 {
			t.Errorf("%d delivered, %d attempts of the one that is refused", n, tries)
		}
		for _, l := range s.m.letters {
			if l.Hook != "ci" || !strings.Contains(l.Detail, "422") || len(l.Event.Entry.Payload) == 0 {
				t.Errorf("the letter is %+v", l)
			}
		}
		s.oneByOne(byChange)
	})
}

// The end of a refusal is reported at once.
func TestRefusalIsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		refused := false
		s.React(func(int, *webhooktest.Delivery) webhooktest.Reaction {
			if !refused {
				refused = true
				return webhooktest.Answer(422)
			}
			return nil
		})
		s.add(1, 3, 1)
		s.start("a")
		time.Sleep(time.Second)
		if n := s.state().Report.Blocked; n != 1 {
			t.Errorf("%d keys are reported as refused, want 1", n)
		}
		s.drained(9 * time.Second)
		time.Sleep(500 * time.Millisecond)
		if n := s.state().Report.Blocked; n != 0 {
			t.Errorf("%d keys are reported as refused after all", n)
		}
	})
}

// An event that the receiver cannot bear holds up its key only, until it is
// given up.
func TestPoison(t *testing.T) {
	for name, reaction := range map[string]webhooktest.Reaction{
		"500": webhooktest.Answer(500), "hangs": webhooktest.Hang, "cuts": webhooktest.Cut,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScene(t)
				s.hook.GiveUpAfter = 2 * time.Hour
				s.React(func(_ int, d *webhooktest.Delivery) webhooktest.Reaction {
					if d.ID == idOf(3) {
						return webhooktest.After(50*time.Millisecond, reaction)
					}
					return webhooktest.After(100*time.Millisecond, webhooktest.Answer(200))
				})
				s.add(1, 100, 10)
				s.start("a")
				time.Sleep(2 * time.Minute)
				if pending := s.pending(); len(pending) != 10 || pending[0] != 3 {
					t.Errorf("pending: %v, want those of one change", pending)
				}
				time.Sleep(100 * time.Minute)
				if len(s.aside()) > 0 || len(s.pending()) != 10 {
					t.Errorf("given up too early: %v", s.aside())
				}
				s.drained(2 * time.Hour)
				if n := s.inOrder(byChange); n != 99 || !slices.Equal(s.aside(), []int64{3}) {
					t.Errorf("%d delivered, put aside: %v", n, s.aside())
				}
			})
		})
	}
}

// A receiver that refuses everything is one that fails: it is asked rarely, and
// few events are put aside.
func TestRefusesEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.Always(webhooktest.Answer(400))
		s.add(1, 1000, 500)
		s.start("a")
		time.Sleep(90 * time.Minute)
		if n := len(s.aside()); n > 20 {
			t.Errorf("%d events were put aside", n)
		}
		if s.state().Report.FailingSince.IsZero() {
			t.Error("it does not count as failing")
		}
		s.Always(nil)
		s.drained(2 * time.Hour)
		s.inOrder(byChange)
	})
}

// 410: nothing comes any more until the hook is resumed, and nothing is lost.
func TestGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.React(func(n int, _ *webhooktest.Delivery) webhooktest.Reaction {
			if n >= 30 {
				return webhooktest.Answer(410)
			}
			return nil
		})
		s.add(1, 100, 10)
		p := s.start("a")
		s.start("b")
		time.Sleep(time.Hour)
		came := len(s.Deliveries())
		pause := s.state().Pause
		if pause.By != webhook.ByReceiver || pause.Since.IsZero() || !strings.Contains(pause.Why, "410") || came > 40 {
			t.Errorf("%d came; the pause is %+v", came, pause)
		}
		s.Always(nil)
		time.Sleep(24 * time.Hour)
		if n := len(s.Deliveries()); n != came {
			t.Errorf("%d came while it was paused", n-came)
		}
		must(t, p.ResumeHook(t.Context(), "ci"))
		s.drained(time.Minute)
		if n := s.inOrder(byChange); n != 100 || len(s.aside()) > 0 {
			t.Errorf("%d delivered, put aside: %v", n, s.aside())
		}
	})
}

// An operator's pause is seen within seconds, and what is under way ends.
func TestPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.Always(webhooktest.After(5*time.Second, webhooktest.Answer(200)))
		s.add(1, 1000, 1000)
		p := s.start("a")
		time.Sleep(30 * time.Second)
		s.start("b")
		time.Sleep(500 * time.Millisecond) // it waits for the lease
		paused := time.Now()
		must(t, p.PauseHook(t.Context(), "ci", webhook.Pause{Since: paused, By: webhook.ByOperator}))
		time.Sleep(10 * time.Second)
		came := len(s.Deliveries())
		for _, d := range s.Deliveries() {
			if late := d.Began.Sub(paused); d.Status != 200 || late > 2*time.Second {
				t.Errorf("a request began %v after the pause, and was answered by %d", late, d.Status)
			}
		}
		time.Sleep(time.Hour)
		if n := len(s.Deliveries()); n != came {
			t.Errorf("%d came while it was paused", n-came)
		}
		must(t, p.ResumeHook(t.Context(), "ci"))
		s.drained(time.Hour)
		if n := len(s.Deliveries()); n != 1000 {
			t.Errorf("%d deliveries", n)
		}
	})
}

// A receiver that is down for longer than events are kept for it: they are put
// aside when they are that old, however often processes restart meanwhile.
func TestGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.hook.GiveUpAfter = 2 * time.Hour
		s.network.Stop(public)
		s.add(1, 1500, 20)
		for range 8 { // a process lives for twenty minutes
			p := s.start("a")
			time.Sleep(20 * time.Minute)
			s.kill(p)
			if aside := s.aside(); len(aside) > 0 && time.Since(s.m.events[0].Queued) < 2*time.Hour {
				t.Fatalf("%d are put aside after %v", len(aside), time.Since(s.m.events[0].Queued))
			}
		}
		s.add(1501, 1600, 20)
		s.start("a")
		time.Sleep(time.Hour)
		if aside, pending := s.aside(), s.pending(); len(aside) != 1500 || len(pending) != 100 {
			t.Errorf("%d are put aside, %d pending", len(aside), len(pending))
		}
		s.network.Listen(public, s.Receiver)
		s.drained(time.Hour + time.Minute)
		if n := s.inOrder(byChange); n != 100 || len(s.aside()) != 1500 {
			t.Errorf("%d delivered, %d put aside", n, len(s.aside()))
		}
	})
}

// Events that grew old because the hook was paused, or no process ran, are not
// given up for a receiver that fails for a while.
func TestOldEventsAreTried(t *testing.T) {
	for name, away := range map[string]func(*scene, *process){
		"paused": func(s *scene, p *process) {
			must(s.t, p.PauseHook(s.t.Context(), "ci", webhook.Pause{Since: time.Now(), By: webhook.ByOperator}))
			time.Sleep(30 * time.Minute)
			must(s.t, p.ResumeHook(s.t.Context(), "ci"))
		},
		"no process": func(s *scene, p *process) {
			s.kill(p)
			time.Sleep(30 * time.Hour)
			s.start("b")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScene(t)
				s.hook.GiveUpAfter = time.Hour
				s.network.Stop(public)
				s.add(1, 300, 30)
				p := s.start("a")
				time.Sleep(50 * time.Minute)
				away(s, p)
				time.Sleep(30 * time.Minute)
				if aside := s.aside(); len(aside) > 0 {
					t.Errorf("put aside: %v", aside)
				}
				s.network.Listen(public, s.Receiver)
				s.drained(time.Hour)
				if n := s.inOrder(byChange); n != 300 || len(s.aside()) > 0 {
					t.Errorf("%d delivered, put aside: %v", n, s.aside())
				}
			})
		})
	}
}

// A filter that drops everything: nothing comes, and the hook moves on.
func TestFilterDropsEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.m.judge = nil
		s.hook.Filter = queue.Filter{Types: []string{"no-such-type"}}
		s.add(1, 3000, 3)
		s.start("a")
		time.Sleep(time.Minute)
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		if done := s.m.consumers[queue.WebhookConsumer("ci")].done; done.UpTo != 3000 || len(s.Deliveries()) > 0 {
			t.Errorf("it stands at %d, and %d came", done.UpTo, len(s.Deliveries()))
		}
	})
}

// A hook begins with what is queued after it was made, and another filter
// counts from the restart on, whoever set it.
func TestRegistersAndChangesFilter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.m.judge = nil
		delete(s.m.consumers, queue.WebhookConsumer("ci"))
		s.add(1, 10, 3)
		p := s.start("a")
		time.Sleep(time.Second)
		s.add(11, 12, 3)
		s.drained(time.Second)
		if n := len(s.Deliveries()); n != 2 {
			t.Errorf("%d came, want those queued since", n)
		}
		before := s.hook.Filter
		s.hook.Filter = queue.Filter{Types: []string{"comment-added"}}
		other := s.start("b")
		time.Sleep(time.Second)
		s.stop(p)
		time.Sleep(time.Second)
		s.add(13, 14, 3)
		time.Sleep(time.Second)
		if n := len(s.Deliveries()); n != 2 {
			t.Errorf("%d came through the new filter", n)
		}
		s.hook.Filter = before
		s.start("c")
		time.Sleep(time.Second)
		must(t, other.SetFilter(t.Context(), queue.WebhookConsumer("ci"), queue.Filter{Types: []string{"x"}}))
		s.stop(other)
		time.Sleep(time.Second)
		s.add(15, 16, 3)
		time.Sleep(time.Second)
		if n := len(s.Deliveries()); n != 4 {
			t.Errorf("%d came, want two more", n)
		}
	})
}

// More events of one key than are held at a time hold up that key alone as long
// as there is room, and nothing else is lost.
func TestWindowIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		blocked := atomic.Bool{}
		blocked.Store(true)
		s.React(func(_ int, d *webhooktest.Delivery) webhooktest.Reaction {
			if blocked.Load() && d.ID == idOf(1) {
				return webhooktest.Answer(500)
			}
			return nil
		})
		s.add(1, 1500, 50)
		s.start("a", func(c *webhook.Config) { c.MaxEvents = 100 })
		time.Sleep(10 * time.Minute)
		if pending := s.pending(); len(pending) > 1500-50 || pending[0] != 1 {
			t.Errorf("%d pending", len(pending))
		}
		blocked.Store(false)
		s.drained(2 * time.Hour)
		if n := s.inOrder(byChange); n != 1500 || len(s.Deliveries()) > 1550 {
			t.Errorf("%d events in %d deliveries", n, len(s.Deliveries()))
		}
		if s.m.acks > 1600 {
			t.Errorf("%d acknowledgements", s.m.acks)
		}
	})
}

// A stop waits for what is under way, and acknowledges it, but not for long.
func TestStop(t *testing.T) {
	for _, slow := range []time.Duration{time.Second, time.Minute} {
		bubble(t, func(t *testing.T) {
			s := newScene(t)
			s.Always(webhooktest.After(slow, webhooktest.Answer(200)))
			s.add(1, 100, 100)
			p := s.start("a")
			time.Sleep(500 * time.Millisecond)
			began := time.Now()
			s.stop(p)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			want := map[bool]int{true: 96, false: 100}[slow == time.Second]
			if n := len(s.pending()); n != want {
				t.Errorf("%d are pending, want %d", n, want)
			}
		})
	}
}

// A store that does not answer holds a stop up for twice the grace at most.
// What the receiver took and the store does not know comes again.
func TestStopWhileTheStoreIsSilent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		s.Always(webhooktest.After(time.Second, webhooktest.Answer(200)))
		s.add(1, 100, 100)
		p := s.start("a", func(c *webhook.Config) { c.Grace = 1500 * time.Millisecond })
		time.Sleep(500 * time.Millisecond)
		p.silent.Store(true)
		began := time.Now()
		s.stop(p)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := len(s.pending()); n != 100 {
			t.Errorf("%d are pending", n)
		}
		p.kill() // its lease
		s.start("b")
		s.drained(time.Minute)
	})
}

// A store that fails for a while: nothing is acknowledged that was not taken or
// put aside, nothing is lost, and little comes twice.
func TestStoreFails(t *testing.T) {
	errStore := errors.New("the disk is full")
	for _, what := range []string{"ack", "put aside", "deliver", "report", "pause", "set filter", "register"} {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprint(what, applied), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := newScene(t)
					fails := 5
					s.fail = func(w string, a bool) error {
						if w == what && a == applied && fails > 0 {
							fails--
							return errStore
						}
						return nil
					}
					gone := false
					s.React(func(n int, d *webhooktest.Delivery) webhooktest.Reaction {
						switch {
						case d.ID == idOf(3):
							return webhooktest.Answer(400)
						case n == 20 && !gone && what == "pause":
							gone = true
							return webhooktest.Answer(410)
						}
						return nil
					})
					if what == "register" {
						delete(s.m.consumers, queue.WebhookConsumer("ci"))
					}
					p := s.start("a")
					time.Sleep(10 * time.Second)
					s.add(1, 100, 10)
					time.Sleep(time.Minute)
					must(t, p.ResumeHook(t.Context(), "ci"))
					s.drained(time.Hour)
					if n := s.inOrder(byChange); n != 99 || !slices.Equal(s.aside(), []int64{3}) {
						t.Errorf("%d delivered, put aside: %v", n, s.aside())
					}
					if n := len(s.Deliveries()); n > 150 {
						t.Errorf("%d deliveries", n)
					}
				})
			})
		}
	}
}
