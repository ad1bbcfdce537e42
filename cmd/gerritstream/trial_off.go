//go:build !trial

package main

import (
	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon"
)

// trial does nothing in the program that is shipped.
type trial struct{}

func (*trial) register(*cobra.Command) {}

func (*trial) apply(process, *daemon.Options) (end func() error, err error) {
	return func() error { return nil }, nil
}
