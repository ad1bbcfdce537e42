package daemon

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// cleanup is what is to be undone at the end: each resource adds its own step
// as it is made.
type cleanup struct {
	once  sync.Once
	err   error // under once
	steps []step
}

type step struct {
	name string
	undo func() error
}

// add notes a step. It is not called once run has been.
func (c *cleanup) add(name string, undo func() error) {
	c.steps = append(c.steps, step{name, undo})
}

// run undoes everything, the newest first, in limit altogether, and joins the
// errors, each with its step's name. A step that takes longer is left behind
// and named. Further calls return what the first did.
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

// errNotInTime: something did not end within its time, and was left behind.
var errNotInTime = errors.New("it does not end in time")

// within runs something and waits for it, so long.
func within(limit time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	timer := time.NewTimer(max(limit, 10*time.Millisecond)) // also a late step gets its chance
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errNotInTime
	}
}
