package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gerritstream/gerritstream/queue"
)

// Config configures a Dispatcher.
type Config struct {
	Hook     Hook
	Store    Store
	Sender   SenderConfig
	Observer Observer     // nil: none
	Log      *slog.Logger // nil: none
	Process  string       // the name of this process, for reports

	// Members returns the processes that share the hooks out among them, this
	// one included; nil: this process competes for the hook at once. Self is
	// this process among them, Hooks the names of all hooks.
	Members func(ctx context.Context) ([]string, error)
	Self    string
	Hooks   []string

	// MaxEvents and MaxBytes bound the events that were read and are not done
	// with, and their payloads. Zero: 1,000 and 16 MiB. One read more than
	// MaxBytes is held at most.
	MaxEvents int
	MaxBytes  int

	// Grace is how long a stop waits for requests under way. Zero: 2 s. A pause
	// or a hand-over waits for all of them. A stop takes twice as long if the
	// store does not answer: what is not acknowledged then is sent again.
	Grace time.Duration
}

// What is given up, beside an event that is older than Hook.GiveUpAfter and
// has been tried minAttempts times.
const (
	// maxRefusals is how often an event is sent that the receiver refuses: over
	// about ten minutes.
	maxRefusals = 8
	minAttempts = 3

	// manyRefused is how many events in a row a receiver refuses before it is
	// taken to fail as a whole.
	manyRefused = 10
)

const (
	lookEvery   = 2 * time.Second  // for a pause or its end
	reportEvery = 10 * time.Second // while nothing changes but the last attempt
	storePause  = time.Second      // after an error of the store
)

// Dispatcher delivers the events of one hook, in one process at a time: every
// process runs one for each hook.
type Dispatcher struct {
	config   Config
	hook     Hook
	consumer string
	sender   *Sender
	log      *slog.Logger

	declined string // a member to which the hook was handed over in vain
	handed   string // the member to which it was handed over last
}

// New returns a Dispatcher of a hook that is valid. It starts nothing.
func New(c Config) (*Dispatcher, error) {
	if c.MaxEvents <= 0 {
		c.MaxEvents = 1000
	}
	c.MaxEvents = min(c.MaxEvents, queue.MaxRanges)
	if c.MaxBytes <= 0 {
		c.MaxBytes = 16 << 20
	}
	if c.Grace <= 0 {
		c.Grace = 2 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s, err := NewSender(c.Hook, c.Sender)
	if err != nil {
		return nil, fmt.Errorf("webhook %s: %w", c.Hook.Name, err)
	}
	return &Dispatcher{
		config: c, hook: s.hook, consumer: c.Hook.Consumer(), sender: s, log: c.Log.With("webhook", c.Hook.Name),
	}, nil
}

// Reasons for the end of a term that are no errors.
var (
	errPaused   = errors.New("the hook is paused")
	errHandOver = errors.New("the hook is handed over to another process")
)

// Run delivers until ctx ends, while this process has the hook's lease. Errors
// of the receiver and of the store are logged and retried; it returns nil.
func (d *Dispatcher) Run(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		err := d.lead(ctx)
		switch {
		case ctx.Err() != nil, err == nil, errors.Is(err, errPaused), errors.Is(err, errHandOver):
			failing = false
			continue
		case errors.Is(err, queue.ErrLeaseLost):
			d.log.Warn("webhook is delivered by another process; its lease was lost", "err", err)
		case !failing:
			failing = true
			d.log.Warn("webhook cannot read the queue; retrying", "err", err)
		}
		sleep(ctx, storePause)
	}
	return nil
}

// lead waits until this process may deliver for the hook, and delivers until
// the hook pauses, the lease ends or ctx does.
func (d *Dispatcher) lead(ctx context.Context) error {
	if err := d.awaitResumed(ctx); err != nil {
		return err
	}
	mine, err := d.awaitTurn(ctx)
	if err != nil {
		return err
	}
	c, err := d.open(ctx, mine)
	if err != nil || c == nil {
		return err
	}
	writing, cancel := outlive(ctx, d.config.Grace*3/2)
	defer cancel()
	stopping, cancel := outlive(ctx, 2*d.config.Grace)
	defer cancel()
	state, err := d.config.Store.HookState(ctx, d.hook.Name)
	switch {
	case err != nil:
	case !state.Pause.Since.IsZero(): // meanwhile
		err = errPaused
	default:
		d.log.Info("webhook is delivered by this process", "to", d.hook.URL)
		t := newTerm(writing, d, c, state.Report)
		err = t.run(ctx)
	}
	closing, cancel := context.WithTimeout(stopping, d.config.Grace)
	defer cancel()
	return errors.Join(err, c.Close(closing))
}

// outlive returns a context that ends a time after ctx has.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}

// awaitResumed waits while the hook is paused.
func (d *Dispatcher) awaitResumed(ctx context.Context) error {
	for {
		state, err := d.config.Store.HookState(ctx, d.hook.Name)
		if err != nil || state.Pause.Since.IsZero() {
			return err
		}
		if !sleep(ctx, lookEvery) {
			return context.Cause(ctx)
		}
	}
}

// open registers the hook's consumer if it is missing, waits for its lease, and
// opens it with the hook's filter. A process that the hook is not planned for
// does not wait long; nil: in vain.
func (d *Dispatcher) open(ctx context.Context, mine bool) (*queue.Consumer, error) {
	store := d.config.Store
	if err := d.register(ctx); err != nil {
		return nil, err
	}
	waiting := ctx
	if !mine {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, standbyStep)
		defer cancel()
	}
	c, err := queue.Open(waiting, store, d.consumer)
	switch {
	case err != nil && ctx.Err() == nil && waiting.Err() != nil:
		return nil, nil
	case err != nil:
		return nil, err
	case queue.EncodeFilter(c.Filter()) == queue.EncodeFilter(d.hook.Filter):
		return c, nil
	}
	// A process with other settings has changed it meanwhile. This one has the
	// lease, so its own count.
	err = store.SetFilter(ctx, d.consumer, d.hook.Filter)
	return nil, errors.Join(err, c.Close(context.WithoutCancel(ctx)))
}

// register makes the hook's consumer, beginning with what is queued from now
// on, or gives it the hook's filter.
func (d *Dispatcher) register(ctx context.Context) error {
	store := d.config.Store
	err := store.SetFilter(ctx, d.consumer, d.hook.Filter)
	if !errors.Is(err, queue.ErrNoConsumer) {
		return err
	}
	_, newest, err := store.Bounds(ctx)
	if err != nil {
		return err
	}
	err = store.Register(ctx, d.consumer, d.hook.Filter, newest)
	if errors.Is(err, queue.ErrExists) {
		return nil
	}
	return err
}

// sleep reports whether the time has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
