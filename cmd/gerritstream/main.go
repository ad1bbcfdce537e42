// Command gerritstream receives Gerrit's events from an AWS Kinesis stream and
// queues each of them once. Any number of processes may run; one of them reads
// each shard. `gerritstream --help` lists the commands.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/when"
)

// version is set by the linker: git describe.
var version string

func main() {
	os.Exit(execute(os.Args[1:], process{
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  newLossyWriter(os.Stderr),
		environ: os.Environ(),
	}))
}

// process is what a command gets of the process it runs in.
type process struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

// execute runs the command that the arguments name and returns the exit code.
// Results go to stdout, everything else to stderr.
func execute(args []string, p process) int {
	started := false
	root := newRoot(p)
	root.SetArgs(withTimes(args))
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	cmd, err := root.ExecuteContextC(context.Background())
	if err != nil && !started {
		err = &usageError{command: cmd.CommandPath(), err: err}
	}
	mark := ""
	if journal(p.stderr, p.environ) {
		mark = journalError
	}
	return explain(p.stderr, mark, err)
}

// withTimes writes arguments such as -24h, which would be taken for flags, as
// "24h ago". What follows "--" belongs to another program.
func withTimes(args []string) []string {
	written := slices.Clone(args)
	for i, arg := range written {
		if arg == "--" {
			break
		}
		if when.IsSpan(arg) && i > 0 && !strings.HasPrefix(args[i-1], "-") {
			written[i] = arg[1:] + " ago"
		}
	}
	return written
}

func newRoot(p process) *cobra.Command {
	root := &cobra.Command{
		Use:   "gerritstream",
		Short: "Queue Gerrit's events from an AWS Kinesis stream, each of them once",
		Long: `gerritstream receives Gerrit's events from an AWS Kinesis stream and queues each of them once. You may
run any number of processes: one of them is elected to read each shard, and the others stand by.

Results go to standard output, everything else to standard error. Exit codes: 0 success, 1 failure at run time, 3 failed
check, 4 no authentication or permission, 64 wrong usage, 78 wrong configuration, 130 interrupted twice.`,
		Example: `  gerritstream demo
  gerritstream emulate --stream gerrit --shards 2
  gerritstream run --stream gerrit --region us-west-2`,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.AddCommand(newDemo(p), newRun(p), newEmulate(p), newStatus(p), newPause(p), newResume(p), newCheckpoint(p),
		newDeadletter(p), newQueue(p), newWebhook(p), newTail(p), newReplay(p), newStore(p), newBench(p), newConfig(p),
		newIAMPolicy(p), newVersion(p), newMan(p))
	root.Version = readBuild().String()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpFunc(showHelp)
	root.SetFlagErrorFunc(unknownFlag)
	addHelpers(root)
	completeValues(root, p)
	explainArguments(root)
	return root
}

// knownCommand refuses an unknown command and suggests one that may be meant.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	meant := ""
	if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
		meant = fmt.Sprintf("; did you mean %q?", names[0])
	}
	return fmt.Errorf("unknown command %q%s", args[0], meant)
}

// sameSignal is how soon after the first a second signal counts as the same:
// timeout(1) sends each to the process and to its group, and so does a terminal
// besides a program that passes it on.
const sameSignal = 100 * time.Millisecond

// interruptible returns a context that ends with the first SIGINT or SIGTERM.
// The second ends the process at once, with exit code 130: a commit that it
// cuts leaves no trace. stop releases the signals.
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
				case time.Since(first) > sameSignal:
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
