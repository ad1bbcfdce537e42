package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// oneSignal is the time within which a second signal is taken for the first:
// timeout(1) sends each to the process and to its group, and so does a terminal
// beside a program that passes it on.
const oneSignal = 100 * time.Millisecond

// interruptible returns a context that ends with the first SIGINT or SIGTERM.
// The second ends the process, at once and with exit code 130: a commit that is
// cut so is as if it had never begun. stop gives the signals back.
func interruptible(ctx context.Context, stderr io.Writer) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		var first time.Time
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				switch {
				case first.IsZero():
					first = time.Now()
					cancel()
				case time.Since(first) > oneSignal:
					fmt.Fprintf(stderr, "gerritstream: %s again: exiting at once\n", s)
					os.Exit(exitInterrupted)
				}
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
