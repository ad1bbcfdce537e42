package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/api"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sink"
)

// queueReading holds the flags of `queue read`.
type queueReading struct {
	process  process
	consumer string
	create   string // a place in the queue; "": the consumer must be there
	filter   queue.Filter
	max      int
	wait     time.Duration
	follow   bool
	ack      bool
	order    string // orderQueue or orderArrival
	hold     time.Duration
	output   *output
	command  []string // that is given each batch; empty: none
}

func newQueueRead(p process) *cobra.Command {
	r := &queueReading{process: p, output: outputFlag("jsonl", "json", "cloudevents")}
	cmd := &cobra.Command{
		Use:   "read --consumer NAME [-- COMMAND...]",
		Short: "Read the next events of a consumer",
		Long: `Read the next events of a consumer and write them to standard output, or to a command's standard input.
Each event comes at least once, in the order of the queue. A batch that is not acknowledged comes again:

  with a command    it is acknowledged when the command exits with 0
  with --ack        it is acknowledged when it was written
  with neither      "queue ack" acknowledges it

One batch is read, or with --follow all that come, until SIGINT or SIGTERM: the batch under way is finished then. An
error of the store that may pass (a lock, a full disk, a lost lease) does not end --follow; what was not acknowledged
comes again. One process at a time reads as a name. Others wait and take over with --follow, and give up after --wait
without it.
The filter belongs to the consumer and is given with --create, which does nothing if the consumer is there.

With --order arrival events come in the order of their arrival in the stream, across its shards. Each is held back
until every shard has been read up to it, and at most for --hold. What is queued later than that is marked as late.`,
		Example: `  gerritstream queue read --consumer indexer --create first --type 'change-*' --max 10
  gerritstream queue read --consumer indexer --max 100 --wait 30s --ack | jq -r .payload.change.url
  gerritstream queue read --consumer indexer --follow -- ./index-events
  gerritstream queue read --consumer indexer --follow --order arrival --hold 5s --ack
  gerritstream queue read --consumer indexer -o cloudevents`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.command = args
			if err := r.check(cmd.ArgsLenAtDash()); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			return withQueue(cmd, p, func(working context.Context, q queue.Store) error {
				return r.run(ctx, working, q)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.consumer, "consumer", "", "`name` of the consumer")
	f.StringVar(&r.create, "create", "", "make the consumer, if it is missing, at this `place`: first, last, "+
		"a number or a time")
	f.StringSliceVar(&r.filter.Types, "type", nil, "with --create: only events of this `type`; \"change-*\" is "+
		"a beginning")
	f.StringSliceVar(&r.filter.Projects, "project", nil, "with --create: only events of this `project`, likewise")
	f.StringSliceVar(&r.filter.Refs, "ref", nil, "with --create: only events about this `ref`, likewise")
	f.IntVar(&r.max, "max", 100, "at most this `number` of events in a batch")
	f.DurationVar(&r.wait, "wait", 0, "wait this `duration` for the first event (default: take what is there)")
	f.BoolVar(&r.follow, "follow", false, "go on with the next batch")
	f.BoolVar(&r.ack, "ack", false, "acknowledge each batch once it is written")
	f.StringVar(&r.order, "order", orderQueue, "`order` of events across shards: "+orderQueue+" or "+orderArrival)
	f.DurationVar(&r.hold, "hold", queue.DefaultHold, "with --order arrival: hold events back for this `duration` "+
		"at most")
	r.output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// The orders of events.
const (
	orderQueue   = "queue"
	orderArrival = "arrival"
)

func (r *queueReading) check(dash int) error {
	filtered := len(r.filter.Types)+len(r.filter.Projects)+len(r.filter.Refs) > 0
	switch {
	case dash < 0 && len(r.command) > 0, dash > 0:
		return fmt.Errorf("unexpected %q; a command follows \"--\"", r.command[0])
	case dash == 0 && len(r.command) == 0:
		return errors.New("no command follows \"--\"")
	case r.consumer == "":
		return errors.New("--consumer is missing")
	case r.max < 1 || r.max > maxBatch:
		return fmt.Errorf("--max %d is not between 1 and %d", r.max, maxBatch)
	case r.wait < 0:
		return fmt.Errorf("--wait %v is below 0", r.wait)
	case r.follow && r.wait != 0:
		return errors.New("--wait does not go with --follow, which waits for ever")
	case r.ack && len(r.command) > 0:
		return errors.New("--ack does not go with a command, whose exit code acknowledges")
	case r.order != orderQueue && r.order != orderArrival:
		return fmt.Errorf("--order %s is neither %s nor %s", r.order, orderQueue, orderArrival)
	case r.hold < 0 || r.hold > maxHold:
		return fmt.Errorf("--hold %v is not between 0s and %v", r.hold, maxHold)
	case r.order == orderQueue && r.hold != queue.DefaultHold:
		return errors.New("--hold goes with --order arrival")
	case r.order == orderArrival && !r.ack && len(r.command) == 0:
		return errors.New("--order arrival needs --ack or a command: \"queue ack\" acknowledges in the order of " +
			"the queue")
	case filtered && r.create == "":
		return errors.New("--type, --project and --ref belong to the consumer; give them with --create")
	}
	if err := queue.RefuseWebhook(r.consumer); err != nil {
		return err
	}
	_, err := r.filter.Matcher()
	return err
}

const (
	maxBatch = 500 // as many as are read at a time
	maxHold  = time.Hour
)

// reopenEvery is how long --follow waits after an error that may pass.
const reopenEvery = time.Second

// run reads until ctx ends. working outlives it: a batch is finished. With
// --follow it goes on after errors that may pass, and says so once for each row
// of them.
func (r *queueReading) run(ctx, working context.Context, q queue.Store) error {
	if err := r.register(ctx, q); err != nil {
		return err
	}
	for silent := false; ; silent = true {
		handled, err := r.read(ctx, working, q)
		if handled {
			silent = false
		}
		if !r.follow || err == nil || ctx.Err() != nil || !mayPass(err) {
			return err
		}
		if !silent {
			fmt.Fprintf(r.process.stderr, "gerritstream: %s; going on with what is not acknowledged\n",
				trouble.OneLine(err.Error()))
		}
		if !sleep(ctx, reopenEvery) {
			return nil
		}
	}
}

// mayPass reports whether reading may succeed if the consumer is opened again.
func mayPass(err error) bool {
	var failed *commandError
	return !errors.As(err, &failed) &&
		(errors.Is(err, queue.ErrLeaseLost) || errors.Is(err, gerritstream.ErrRetryLater))
}

// commandError is the failure of a command, or of the output.
type commandError struct{ err error }

func (e *commandError) Error() string { return e.err.Error() }

func (e *commandError) Unwrap() error { return e.err }

// read opens the consumer and reads until ctx ends or something fails. handled:
// it got through a batch.
func (r *queueReading) read(ctx, working context.Context, q queue.Store) (handled bool, err error) {
	c, err := r.open(ctx, q)
	if err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, explainConsumer(working, q, r.consumer, err)
	}
	defer func() { err = errors.Join(err, c.Close(working)) }()
	for {
		events, err := r.next(ctx, c)
		if err != nil || len(events) == 0 {
			return handled, err
		}
		if err := r.handle(c.Context(), events); err != nil {
			if !errors.Is(err, queue.ErrLeaseLost) {
				err = &commandError{err}
			}
			return handled, err
		}
		if r.ack || len(r.command) > 0 {
			if err := c.Ack(working, events[len(events)-1].Number); err != nil {
				return handled, err
			}
		}
		if !r.follow {
			return true, nil
		}
		handled = true
	}
}

// register makes the consumer if it is to be made and is not there.
func (r *queueReading) register(ctx context.Context, q queue.Store) error {
	if r.create == "" {
		return nil
	}
	after, said, err := api.Locate(ctx, q, r.create)
	if err != nil {
		return err
	}
	switch err := q.Register(ctx, r.consumer, r.filter, after); {
	case errors.Is(err, queue.ErrExists):
		return r.checkFilter(ctx, q)
	case err != nil:
		return err
	}
	fmt.Fprintf(r.process.stderr, "gerritstream: made consumer %s, which begins at event %d%s\n",
		r.consumer, after+1, said)
	return nil
}

// checkFilter refuses a filter that is not the one of the consumer.
func (r *queueReading) checkFilter(ctx context.Context, q queue.Store) error {
	infos, err := q.Consumers(ctx)
	if err != nil {
		return err
	}
	info, want := consumerNamed(infos, r.consumer), queue.EncodeFilter(r.filter)
	if info == nil || want == "" || want == queue.EncodeFilter(info.Filter) {
		return nil
	}
	return fmt.Errorf("consumer %s is there with another filter, %s; \"queue filter\" changes it",
		r.consumer, queue.EncodeFilter(info.Filter))
}

// open waits for the lease, and says for whom: as a standby until it comes,
// else no longer than a process that was killed keeps it.
func (r *queueReading) open(ctx context.Context, q queue.Store) (*queue.Consumer, error) {
	said := time.AfterFunc(time.Second, func() {
		reader := "another process"
		if infos, err := q.Consumers(ctx); err == nil {
			if info := consumerNamed(infos, r.consumer); info != nil && info.Reader != "" {
				reader = printable(info.Reader)
			}
		}
		fmt.Fprintf(r.process.stderr, "gerritstream: waiting: %s is reading as %s\n", reader, r.consumer)
	})
	defer said.Stop()
	if !r.follow {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(r.wait, leasePatience))
		defer cancel()
	}
	var options []queue.Option
	if r.order == orderArrival {
		options = append(options, queue.ByArrival(r.hold))
	}
	return queue.Open(ctx, q, r.consumer, options...)
}

// next waits for a batch as long as it is to. An empty one: nothing came.
func (r *queueReading) next(ctx context.Context, c *queue.Consumer) ([]queue.Event, error) {
	if !r.follow && r.wait == 0 {
		return c.Poll(ctx, r.max)
	}
	waiting := ctx
	if !r.follow {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, r.wait)
		defer cancel()
	}
	events, err := c.Next(waiting, r.max)
	if err != nil && waiting.Err() != nil && !errors.Is(err, queue.ErrLeaseLost) {
		return nil, nil
	}
	return events, err
}

// handle writes a batch, or has the command do with it what it does.
func (r *queueReading) handle(ctx context.Context, events []queue.Event) error {
	var batch bytes.Buffer
	if err := writeEvents(&batch, r.output, events); err != nil {
		return err
	}
	if len(r.command) == 0 {
		if _, err := r.process.stdout.Write(batch.Bytes()); err != nil {
			return fmt.Errorf("write events: %w", err)
		}
		return nil
	}
	return giveBatch(ctx, r.process, r.command, batch.Bytes(), events)
}

// writeEvents writes events in a format: cloudevents, json, or jsonl.
func writeEvents(w io.Writer, output *output, events []queue.Event) error {
	if output.is("cloudevents") {
		entries := make([]gerritstream.Entry, len(events))
		for i := range events {
			entries[i] = events[i].Entry
			attributes := maps.Clone(entries[i].Event.Attributes)
			for name, marked := range map[string]bool{"replayed": events[i].Replayed, "late": events[i].Late} {
				if marked { // as an extension attribute
					if attributes == nil {
						attributes = map[string]string{}
					}
					attributes[name] = "true"
				}
			}
			entries[i].Event.Attributes = attributes
		}
		return sink.NewStdout(w, "").Deliver(context.Background(), entries)
	}
	views := make([]api.Event, len(events))
	for i := range events {
		views[i] = api.NewEvent(&events[i])
	}
	if output.is("json") {
		return writeLine(w, views)
	}
	for i := range views {
		if err := writeLine(w, &views[i]); err != nil {
			return err
		}
	}
	return nil
}
