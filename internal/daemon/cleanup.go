package daemon

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// cleanup holds what is to be undone at the end: each resource adds its own
// step when it is created.
type cleanup struct {
	once  sync.Once
	err   error // under once
	steps []step
}

type step struct {
	name string
	undo func() error
}

// add adds a step. It is not called after run.
func (c *cleanup) add(name string, undo func() error) {
	c.steps = append(c.steps, step{name, undo})
}

// run undoes everything, the newest first, within a limit for all steps, and
// joins the errors, each with its step's name. A step that takes longer is
// abandoned and named. Further calls return the result of the first.
func (c *cleanup) run(limit time.Duration) error {
	c.once.Do(func() {
		deadline := time.Now().Add(limit)
		var errs []error
		for _, s := range slices.Backward(c.steps) {
			if err := within(time.Until(deadline), s.undo); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			}
		}
		c.err = errors.Join(errs...)
	})
	return c.err
}

// errTimeout: something did not end in time and was abandoned.
var errTimeout = errors.New("timed out")

// within runs a function and waits for it, but no longer than limit.
func within(limit time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	timer := time.NewTimer(max(limit, 10*time.Millisecond)) // late steps get a chance too
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errTimeout
	}
}
