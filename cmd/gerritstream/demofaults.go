package main

import (
	"bufio"
	"context"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// demoFaults is what is wrong with the embedded Kinesis.
type demoFaults struct {
	mu        sync.Mutex
	throttled time.Time // under mu: until then reads are refused
	away      time.Time // under mu: until then nothing is answered
	killed    int       // processes killed so far; disturb's
}

const (
	// faultLasts is longer than the ten seconds after which throttling counts
	// as trouble.
	faultLasts = 15 * time.Second

	// mostOpen bounds the shards that splits make.
	mostOpen = 16
)

// hook makes a Kinesis fail as set. The producer is spared.
func (f *demoFaults) hook() kinesistest.Hook {
	return kinesistest.Hook{
		Match: func(r *kinesistest.Request) bool { return r.Operation != "PutRecords" },
		Do: func(next kinesistest.Handler) kinesistest.Handler {
			return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
				f.mu.Lock()
				now := time.Now()
				away, throttled := now.Before(f.away), now.Before(f.throttled)
				f.mu.Unlock()
				switch {
				case away:
					return nil, kinesistest.ErrTruncated
				case throttled && r.Operation == "GetRecords":
					next = kinesistest.Fail("ProvisionedThroughputExceededException",
						"Rate exceeded for shard: another reader takes all of it.", 0)(next)
				}
				return next(ctx, r)
			}
		},
	}
}

// fault is something that `demo --serve` does to what it runs.
type fault struct {
	key, name string
	do        func(*serving, context.Context) (said string, err error)
}

// faultTable are all faults, in the order in which they happen by themselves.
var faultTable = []fault{
	{"s", "split a shard", (*serving).splitOne},
	{"k", "kill a process", (*serving).killOne},
	{"t", "throttle reads", (*serving).throttle},
	{"m", "merge two shards", (*serving).mergeTwo},
	{"a", "Kinesis away", (*serving).takeAway},
}

// faultKeys describes the keys.
func faultKeys() string {
	parts := make([]string, len(faultTable))
	for i, f := range faultTable {
		parts[i] = f.key + " " + f.name
	}
	return strings.Join(parts, ", ")
}

// disturb makes faults, on keys and every so often, until ctx ends.
func (s *serving) disturb(ctx context.Context) error {
	var tick <-chan time.Time
	if s.demo.every > 0 {
		ticker := time.NewTicker(s.demo.every)
		defer ticker.Stop()
		tick = ticker.C
	}
	keys := s.keys(ctx)
	for turn := 0; ; {
		f := &faultTable[turn%len(faultTable)]
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
			turn++
		case key := <-keys:
			i := slices.IndexFunc(faultTable, func(f fault) bool { return f.key == key })
			if i < 0 {
				s.say(ctx, "", "%q is no key: %s", printable(key), faultKeys())
				continue
			}
			f = &faultTable[i]
		}
		said, err := f.do(s, ctx)
		if err != nil {
			return err
		}
		s.say(ctx, bold, "%s", said)
	}
}

// keys returns the lines of standard input. Whoever reads there waits until the
// process ends.
func (s *serving) keys(ctx context.Context) <-chan string {
	signal.Ignore(syscall.SIGTTIN) // in the background there are no keys
	keys := make(chan string)
	go func() {
		lines := bufio.NewScanner(s.demo.process.stdin)
		for lines.Scan() {
			key := strings.TrimSpace(lines.Text())
			if key == "" {
				continue
			}
			select {
			case keys <- key:
			case <-ctx.Done():
				return
			}
		}
	}()
	return keys
}

// killOne kills the processes in turn, and last the one that the printed
// commands ask.
func (s *serving) killOne(context.Context) (string, error) {
	for range s.processes {
		p := s.processes[len(s.processes)-1-s.faults.killed%len(s.processes)]
		s.faults.killed++
		if p.kill() {
			return p.name + " gets SIGKILL", nil
		}
	}
	return "no process is left to kill; wait for one to start again", nil
}

// splitOne splits the oldest open shard.
func (s *serving) splitOne(context.Context) (string, error) {
	open, err := s.openShards()
	if err != nil {
		return "", err
	}
	if len(open) >= mostOpen {
		return fmt.Sprintf("%d shards are enough for a demo: none is split", len(open)), nil
	}
	left, right, err := s.demo.stream.server.Split(demoStreamName, open[0].ID)
	if err != nil {
		return "", fmt.Errorf("split a shard: %w", err)
	}
	return fmt.Sprintf("shard %s is split into %s and %s", brief(open[0].ID), brief(left), brief(right)), nil
}

// mergeTwo merges the halves of a shard that was split.
func (s *serving) mergeTwo(context.Context) (string, error) {
	open, err := s.openShards()
	if err != nil {
		return "", err
	}
	for i, a := range open {
		for _, b := range open[i+1:] {
			if len(a.Parents) != 1 || !slices.Equal(a.Parents, b.Parents) {
				continue
			}
			child, err := s.demo.stream.server.Merge(demoStreamName, a.ID, b.ID)
			if err != nil {
				return "", fmt.Errorf("merge shards: %w", err)
			}
			return fmt.Sprintf("shards %s and %s are merged into %s", brief(a.ID), brief(b.ID), brief(child)), nil
		}
	}
	return "no shard was split before: none are merged", nil
}

// openShards returns the open shards, by id.
func (s *serving) openShards() ([]kinesistest.Shard, error) {
	shards, err := s.demo.stream.server.Shards(demoStreamName)
	if err != nil {
		return nil, fmt.Errorf("list the demo's shards: %w", err)
	}
	return slices.DeleteFunc(shards, func(shard kinesistest.Shard) bool { return !shard.Open }), nil
}

// throttle has all reads refused for a while.
func (s *serving) throttle(ctx context.Context) (string, error) {
	s.fail(ctx, &s.faults.throttled, "Kinesis grants reads again")
	return fmt.Sprintf("Kinesis refuses all reads for %s, as if another reader took them", faultLasts), nil
}

// takeAway has nothing answered for a while.
func (s *serving) takeAway(ctx context.Context) (string, error) {
	s.fail(ctx, &s.faults.away, "Kinesis answers again")
	return fmt.Sprintf("Kinesis answers nothing for %s", faultLasts), nil
}

// fail sets the end of a fault and says when it has come.
func (s *serving) fail(ctx context.Context, until *time.Time, over string) {
	end := time.Now().Add(faultLasts)
	s.faults.mu.Lock()
	*until = end
	s.faults.mu.Unlock()
	time.AfterFunc(faultLasts, func() {
		s.faults.mu.Lock()
		prolonged := *until != end
		s.faults.mu.Unlock()
		if !prolonged && ctx.Err() == nil {
			s.say(ctx, bold, "%s", over)
		}
	})
}
