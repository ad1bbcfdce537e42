package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// process is what a command gets of the process it runs in.
type process struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

// execute runs the command that the arguments name and returns the exit code.
// Results go to stdout, all else to stderr.
func execute(args []string, p process) int {
	started := false
	root := newRoot(p)
	root.SetArgs(args)
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	cmd, err := root.ExecuteContextC(context.Background())
	if err != nil && !started {
		err = &usageError{command: cmd.CommandPath(), err: err}
	}
	return explain(p.stderr, err)
}

// newRoot returns the command line: a file for each command.
func newRoot(p process) *cobra.Command {
	root := &cobra.Command{
		Use:   "gerritstream",
		Short: "Gerrit's events from an AWS Kinesis stream, each of them once",
		Long: `gerritstream receives Gerrit's events from an AWS Kinesis stream and queues each of them once. Run as many
processes as you like: per shard one of them is elected to read, the others stand by.

Results go to standard output, everything else to standard error.
Exit codes: 0 fine, 1 failed at run time, 3 a check failed, 4 no authentication or permission, 64 wrong usage,
78 wrong configuration, 130 interrupted twice.`,
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
	root.AddCommand(newDemo(p), newRun(p), newEmulate(p), newStatus(p), newCheckpoint(p), newDeadletter(p), newVersion(p))
	return root
}

// knownCommand says which command was probably meant.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	meant := ""
	if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
		meant = fmt.Sprintf("; did you mean %q?", names[0])
	}
	return fmt.Errorf("there is no command %q%s", args[0], meant)
}
