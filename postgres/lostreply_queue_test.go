package postgres_test

import (
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// losses are the ways to lose a call: its reply, or the call itself.
var losses = []struct {
	name    string
	lose    func(*peers.Link, func([]byte) bool) <-chan struct{}
	written bool
}{
	{"reply", (*peers.Link).LoseNextReply, true},
	{"request", (*peers.Link).LoseNextRequest, false},
}

// Whether the reply to an acknowledgement is lost or the acknowledgement
// itself, it counts, and the lease goes on.
func TestLostReplyOfAnAcknowledgement(t *testing.T) {
	for _, tt := range losses {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, link := newLinked(t)
			store := s.openWith(postgres.Config{LeaseTTL: patience})
			must(t, store.Register(within(t), "marked", queue.Filter{}, 0))
			l, err := store.Lease(within(t), "marked")
			must(t, err)
			must(t, l.Ack(within(t), queue.Set{UpTo: 1}))
			for i, write := range []func() error{
				func() error { return l.Deliver(within(t), 4, 9) },
				func() error { return l.Ack(within(t), queue.Set{UpTo: 2}) },
				func() error { return l.Ack(within(t), queue.Set{Beyond: []queue.Range{{First: 7, Last: 8}}}) },
			} {
				lost := tt.lose(link, marked("marked"))
				must(t, write())
				select {
				case <-lost:
				default:
					t.Errorf("nothing was lost of write %d", i)
				}
			}
			must(t, l.Ack(within(t), queue.Set{UpTo: 4, Beyond: []queue.Range{{First: 6, Last: 6}}}))
			infos, err := store.Consumers(within(t))
			must(t, err)
			info := infos[0]
			if info.Acked != 4 || len(info.Beyond) != 1 || info.Beyond[0] != (queue.Range{First: 6, Last: 8}) ||
				info.Handed != 4 || info.Ahead != 9 {
				t.Errorf("the consumer is %+v", info)
			}
			if l.Context().Err() != nil {
				t.Error("the lease is over")
			}
		})
	}
}

// What was appended, or put aside, and whose reply was lost, is there once when
// the caller has repeated it.
func TestLostReplyOfAppendingAndPuttingAside(t *testing.T) {
	for _, tt := range losses {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, link := newLinked(t)
			store := s.openWith(postgres.Config{LeaseTTL: patience})
			name := queue.WebhookConsumer("marked")
			must(t, store.Register(within(t), name, queue.Filter{}, 0))
			c, err := queue.Open(within(t), store, name)
			must(t, err)
			entries := []gerritstream.Entry{entry(shardA, "1", 10), entry(shardA, "2", 10)}
			tt.lose(link, marked(name))
			if n, err := store.Append(within(t), name, entries); err == nil {
				t.Errorf("appended %d, with the reply lost", n)
			}
			want := 2
			if tt.written {
				want = 0
			}
			if n, err := store.Append(within(t), name, entries); err != nil || n != want {
				t.Errorf("appended %d, %v, want %d", n, err, want)
			}
			events, err := c.Next(within(t), 10)
			must(t, err)
			if len(events) != 2 || events[0].Entry.Seq != "1" || events[1].Entry.Seq != "2" {
				t.Fatalf("the events are %+v", events)
			}
			letter := webhook.Letter{Hook: "marked", Event: events[0], Detail: "it said no"}
			tt.lose(link, marked(name))
			if err := store.PutAside(within(t), letter); err == nil {
				t.Error("put aside, with the reply lost")
			}
			must(t, store.PutAside(within(t), letter))
			if state, err := store.HookState(within(t), "marked"); err != nil || state.GivenUp != 1 {
				t.Errorf("the hook is %+v, %v", state, err)
			}
		})
	}
}
