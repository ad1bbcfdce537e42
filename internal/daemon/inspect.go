package daemon

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/admin"
	"github.com/gerritstream/gerritstream/internal/api"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

const (
	inspectEvery   = 10 * time.Second // counting a queue is expensive
	inspectTimeout = 2 * time.Second
	countTimeout   = 5 * time.Second // of what waits for consumers, maybe in millions of events
	retryEvery     = 3 * time.Second // while it fails
	lookEvery      = time.Second     // whether it is time to

	// While nobody looks, the store is inspected less often: with ZooKeeper
	// that takes three requests a shard.
	unaskedEvery = time.Minute
	unaskedShard = 100 * time.Millisecond // for each shard
	askedFor     = time.Minute            // after somebody has looked

	// inspectShare is the part of the time that inspecting may take, at most:
	// one in so many. The positions of a thousand shards take a while.
	inspectShare = 50

	shownEvents      = 50
	shownDeadLetters = 10
	lettersEvery     = time.Minute // if their number is the same
	lettersTimeout   = 5 * time.Second
)

// inspector knows what the store holds, of all processes on it, and how that
// went in the last hour. Inspecting is done at most every ten seconds. Several
// goroutines use it.
type inspector struct {
	store   gerritstream.Store
	queue   webhook.Store                 // nil: it has no consumers
	status  func() gerritstream.Status    // of this process
	pauses  func() pauses.Set             // as this process knows them; nil: none
	letters func(context.Context) letters // opens the store for dead letters
	feed    *api.Feed                     // nil: it is not known what was handled
	metrics *admin.Metrics
	setup   overview.Setup
	history *overview.History

	looking sync.Mutex   // held while the store is inspected
	next    time.Time    // under looking: when that is due again for those who ask
	asked   atomic.Int64 // when the page was last asked for: Unix nanoseconds

	mu    sync.Mutex
	last  overview.Store // under mu: as it was last inspected
	hooks hooks.Known    // under mu: consumers and webhooks, likewise; Receivers does not change
	delay float64        // under mu: of this process' events in the last sample; overview.Unknown: there were none

	lettersMu sync.Mutex
	held      letters   // under lettersMu: as they were last read
	heldAt    time.Time // under lettersMu: when
}

// letters are some of the dead letters.
type letters struct {
	newest []gerritstream.StoredDeadLetter
	count  int64 // of all of them, as inspected
}

// inspect returns the last inspection that succeeded; ok is false if none has.
func (i *inspector) inspect() (in gerritstream.Inspection, ok bool) {
	i.look()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last.Inspection, !i.last.At.IsZero()
}

// consumers returns the consumers as they were last read.
func (i *inspector) consumers() []queue.Info {
	i.look()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hooks.Consumers
}

// webhooks returns the webhooks as they were last read, the worst first.
func (i *inspector) webhooks() []hooks.View {
	i.look()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hooks.Views(time.Now())
}

// look inspects if it is time to, and returns once that was done.
func (i *inspector) look() {
	i.looking.Lock()
	defer i.looking.Unlock()
	began := time.Now()
	if began.Before(i.next) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), inspectTimeout)
	defer cancel()
	in, err := i.store.Inspect(ctx)
	if err != nil {
		i.next = began.Add(retryEvery)
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.last.Err = err.Error(); i.last.AwaySince.IsZero() {
			i.last.AwaySince = began
		}
		return
	}
	var infos []queue.Info
	var states []webhook.State
	var errInfos, errStates error
	if i.queue != nil {
		states, errStates = i.queue.HookStates(ctx)
		counting, cancel := context.WithTimeout(context.Background(), countTimeout)
		defer cancel()
		infos, errInfos = i.queue.Consumers(counting)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last = overview.Store{Inspection: in, At: time.Now()}
	if errInfos == nil {
		i.hooks.Consumers = infos
	}
	if errStates == nil {
		i.hooks.States = states
	}
	i.next = began.Add(max(inspectEvery, inspectShare*time.Since(began)))
}

// input returns what there is to make a view from, without waiting.
func (i *inspector) input() *overview.Input {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	in := &overview.Input{
		Process: i.status(), Store: i.last, Setup: i.setup, Consumers: i.hooks.Consumers, Webhooks: i.hooks.Views(now),
		History: i.history, Now: now, Ahead: i.metrics.Ahead(),
	}
	if i.pauses != nil {
		in.Pauses = i.pauses()
	}
	return in
}

// causes returns what the page names as wrong.
func (i *inspector) causes() []overview.Cause {
	i.look()
	view := overview.New(i.input())
	return view.Causes
}

// view returns how the group is doing.
func (i *inspector) view() overview.View {
	if last := i.asked.Swap(time.Now().UnixNano()); time.Since(time.Unix(0, last)) >= askedFor {
		i.look() // what is known may be a minute old
	}
	in := i.input()
	in.DeadLetters = i.deadLetters(in.Store.Inspection.DeadLetters, in.Store.AwaySince.IsZero())
	in.Events = i.events(shownEvents)
	return overview.New(in)
}

// events returns some of the last events that this process has handled.
func (i *inspector) events(most int) (all []overview.Event) {
	if i.feed == nil {
		return nil
	}
	for _, v := range i.feed.Last(most) {
		all = append(all, overview.Event{
			At: v.At, Verdict: v.Verdict, Why: v.Rule + v.Reason, Type: v.Type, Project: v.Project, Ref: v.Ref,
			Change: v.Change, Shard: overview.Short(gerritstream.ShardID(v.Shard)), Sequence: v.Sequence,
		})
	}
	return all
}

// shared is what this process tells the others with its reports. It is called
// once all is built.
func (d *Daemon) shared() json.RawMessage {
	if d.seen == nil {
		return nil
	}
	d.seen.mu.Lock()
	delay := d.seen.delay
	d.seen.mu.Unlock()
	return overview.NewShared(delay, d.seen.events(overview.SharedEvents))
}

// deadLetters returns some of the dead letters, of which there are so many.
// While the store does not answer they are as they were last read.
func (i *inspector) deadLetters(count int64, answers bool) []gerritstream.StoredDeadLetter {
	i.lettersMu.Lock()
	defer i.lettersMu.Unlock()
	if !answers || count == i.held.count && (count == 0 || time.Since(i.heldAt) < lettersEvery) {
		return i.held.newest
	}
	ctx, cancel := context.WithTimeout(context.Background(), lettersTimeout)
	defer cancel()
	i.held, i.heldAt = i.letters(ctx), time.Now()
	i.held.count = count
	return i.held.newest
}

// sample inspects, and keeps the history, until ctx ends.
func (i *inspector) sample(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	due := time.Now()
	for {
		if i.isDue() {
			i.look()
		}
		if now := time.Now(); !now.Before(due) {
			delay := i.metrics.DelaySince()
			i.mu.Lock()
			i.delay = delay
			i.mu.Unlock()
			i.history.Add(i.input(), delay)
			due = due.Add(max(overview.Every, now.Sub(due).Truncate(overview.Every)))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// isDue reports whether to inspect for the history, or for the page that
// somebody looks at.
func (i *inspector) isDue() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	watched := time.Since(time.Unix(0, i.asked.Load())) < askedFor
	rest := max(unaskedEvery, unaskedShard*time.Duration(len(i.last.Inspection.Shards)))
	return watched || !i.last.AwaySince.IsZero() || time.Since(i.last.At) >= rest
}

// readLetters opens the store as an operator would, and reads the newest dead
// letters without their payloads.
func (d *Daemon) readLetters(ctx context.Context) (all letters) {
	operator, err := d.options.Config.OpenOperator(ctx)
	if err != nil {
		d.log.Debug("dead letters not read", "err", err)
		return all
	}
	defer func() {
		if err := operator.Close(ctx); err != nil {
			d.log.Debug("operator not closed", "err", err)
		}
	}()
	for letter, err := range operator.DeadLetters(ctx) {
		if err != nil {
			d.log.Debug("dead letters not read", "err", err)
			break
		}
		letter.DeadLetter.Payload = nil
		if all.newest = append(all.newest, letter); len(all.newest) == shownDeadLetters {
			break
		}
	}
	return all
}
