package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// explainArguments has a command and those below it say what is wrong with
// their arguments: which one is unexpected, or what they take.
func explainArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		explainArguments(sub)
	}
	check := cmd.Args
	if check == nil || cmd.HasSubCommands() || cmd.Name() == "help" { // which knownCommand explains
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		most := len(args)
		for most > 0 && check(cmd, args[:most]) != nil {
			most--
		}
		if check(cmd, args[:most]) == nil {
			return fmt.Errorf("unexpected argument %q%s", args[most], meantFor(cmd, args[most]))
		}
		use, _, _ := strings.Cut(cmd.UseLine(), " [flags]")
		return fmt.Errorf("too few arguments: %s", use)
	}
}

// meantFor returns the flag that an argument may have been meant for, as half a
// sentence: a flag that may stand alone takes its value only after "=".
func meantFor(cmd *cobra.Command, arg string) (meant string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if _, err := time.ParseDuration(arg); err == nil && f.Value.Type() == "duration" && f.NoOptDefVal != "" {
			meant = fmt.Sprintf("; did you mean --%s=%s?", f.Name, arg)
		}
	})
	return meant
}

// addHelpers adds cobra's commands help and completion, which would otherwise
// take any argument.
func addHelpers(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err != nil {
					return err
				}
				return knownCommand(about, rest)
			}
		case "completion":
			cmd.Args = knownCommand
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}
