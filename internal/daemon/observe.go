package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// observers passes what happens to several Observers, in their order.
type observers []consumer.Observer

func (all observers) Elected(shard gerritstream.ShardID, term uint64, from gerritstream.Position, ok bool) {
	for _, o := range all {
		o.Elected(shard, term, from, ok)
	}
}

func (all observers) PageRead(shard gerritstream.ShardID, page *gerritstream.Page) {
	for _, o := range all {
		o.PageRead(shard, page)
	}
}

func (all observers) Judged(shard gerritstream.ShardID, record *gerritstream.Record, verdict *gerritstream.Verdict) {
	for _, o := range all {
		o.Judged(shard, record, verdict)
	}
}

func (all observers) Committed(
	shard gerritstream.ShardID, term uint64, commit *gerritstream.Commit, took time.Duration,
) {
	for _, o := range all {
		o.Committed(shard, term, commit, took)
	}
}

func (all observers) Lost(shard gerritstream.ShardID, interval gerritstream.Interval) {
	for _, o := range all {
		o.Lost(shard, interval)
	}
}

func (all observers) TermEnded(shard gerritstream.ShardID, term uint64, cause error) {
	for _, o := range all {
		o.TermEnded(shard, term, cause)
	}
}

const (
	inspectEvery   = 10 * time.Second // counting a queue is expensive
	inspectTimeout = 2 * time.Second
	countTimeout   = 5 * time.Second // of what waits for consumers, maybe in millions of events
)

// inspector inspects a store and the consumers of its queue, at most every ten
// seconds.
type inspector struct {
	store gerritstream.Store
	queue webhook.Store // nil: it has no consumers

	mu    sync.Mutex
	at    time.Time               // under mu: of the last attempt
	last  gerritstream.Inspection // under mu: the last that succeeded
	known bool                    // under mu: there is one
	hooks hooks.Known             // under mu: consumers and webhooks, likewise; Receivers does not change
}

// inspect returns the last inspection that succeeded; ok is false if none has.
func (i *inspector) inspect() (in gerritstream.Inspection, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.look()
	return i.last, i.known
}

// consumers returns the consumers as they were last read.
func (i *inspector) consumers() []queue.Info {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.look()
	return i.hooks.Consumers
}

// webhooks returns the webhooks as they were last read, the worst first.
func (i *inspector) webhooks() []hooks.View {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.look()
	return i.hooks.Views(time.Now())
}

// look inspects if it is time to. mu is held.
func (i *inspector) look() {
	if i.at.IsZero() || time.Since(i.at) >= inspectEvery {
		ctx, cancel := context.WithTimeout(context.Background(), inspectTimeout)
		defer cancel()
		if in, err := i.store.Inspect(ctx); err == nil {
			i.last, i.known = in, true
		}
		if i.queue != nil {
			if states, err := i.queue.HookStates(ctx); err == nil {
				i.hooks.States = states
			}
			counting, cancel := context.WithTimeout(context.Background(), countTimeout)
			defer cancel()
			if infos, err := i.queue.Consumers(counting); err == nil {
				i.hooks.Consumers = infos
			}
		}
		i.at = time.Now()
	}
}
