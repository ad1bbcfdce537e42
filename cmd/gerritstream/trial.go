//go:build trial

package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/history"
)

// trial gives a process what only the trials of test/e2e and test/soak need: a
// history of what it does, and a clock that goes wrong. The program that is
// shipped is built without it: see trial_off.go.
type trial struct{ history string }

// clockSteps is the variable that makes a clock go wrong: "-1h@0s,20m@7s" is an
// hour slow at first and 20 minutes fast from the seventh second on.
const clockSteps = "GERRITSTREAM_CLOCK_STEPS"

func (tr *trial) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&tr.history, "history", "", "append what happens to records to this `file`, for trials")
	_ = cmd.Flags().MarkHidden("history") // the flag exists
}

// apply changes the options as asked. end reports whether the history is
// complete.
func (tr *trial) apply(p process, o *daemon.Options) (end func() error, err error) {
	if o.Now, err = steppingClock(p.getenv(clockSteps)); err != nil {
		return nil, &usageError{"gerritstream run", fmt.Errorf("%s: %w", clockSteps, err)}
	}
	if tr.history == "" {
		return func() error { return nil }, nil
	}
	f, err := os.OpenFile(tr.history, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, &daemon.ConfigError{Err: fmt.Errorf("open the history: %w", err)}
	}
	w := history.NewWriter(f, fmt.Sprintf("process-%d", os.Getpid()))
	o.Observer = w
	return func() error {
		if err := w.Err(); err != nil {
			return fmt.Errorf("the history is incomplete: %w", err)
		}
		return f.Close()
	}, nil
}

// steppingClock returns a clock that is off by each step from its moment on;
// nil: time.Now.
func steppingClock(steps string) (func() time.Time, error) {
	if steps == "" {
		return nil, nil
	}
	type step struct{ off, from time.Duration }
	var list []step
	for part := range strings.SplitSeq(steps, ",") {
		off, from, ok := strings.Cut(part, "@")
		if !ok {
			return nil, fmt.Errorf("%q is not OFFSET@MOMENT", part)
		}
		var s step
		var err error
		if s.off, err = time.ParseDuration(off); err == nil {
			s.from, err = time.ParseDuration(from)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	began := time.Now()
	return func() time.Time {
		now, off := time.Now(), time.Duration(0)
		for _, s := range list {
			if now.Sub(began) >= s.from {
				off = s.off
			}
		}
		return now.Add(off)
	}, nil
}
