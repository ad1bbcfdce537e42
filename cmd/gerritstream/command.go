package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/gerritstream/gerritstream/queue"
)

// giveBatch runs a command with a batch as its standard input, and waits for
// it. When ctx ends, which the loss of the lease does, the command is killed:
// another process gets the events. Ctrl-C on a terminal does not reach it, so
// that the batch under way is finished.
func giveBatch(ctx context.Context, p process, command []string, batch []byte, events []queue.Event) error {
	first, last := events[0].Number, events[len(events)-1].Number
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the user's own
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(batch), p.stdout, p.stderr
	cmd.Env = append(os.Environ(),
		fmt.Sprintf("GERRITSTREAM_FIRST=%d", first), fmt.Sprintf("GERRITSTREAM_LAST=%d", last))
	cmd.SysProcAttr = commandAttributes()
	cmd.Cancel = func() error { return killCommand(cmd.Process) }
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s was killed: %w; events %d to %d are not acknowledged",
			command[0], context.Cause(ctx), first, last)
	}
	return fmt.Errorf("%s: %w; events %d to %d are not acknowledged", command[0], err, first, last)
}
