package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// consent is the flag by which a command that changes something is told to go
// on without asking.
type consent struct {
	process
	yes bool
}

// consentFlag gives a command the flag.
func consentFlag(cmd *cobra.Command, p process) *consent {
	c := &consent{process: p}
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "go on without asking")
	return c
}

// possible returns an error if there is neither consent nor anybody to ask. It
// is to be called before anything is done.
func (c *consent) possible(cmd *cobra.Command) error {
	if c.yes || isTerminal(c.stdin) {
		return nil
	}
	return &usageError{cmd.CommandPath(), errors.New("this changes the store, and there is no terminal to ask at: give --yes")}
}

// errDeclined: the person at the terminal does not want it.
var errDeclined = errors.New("nothing was changed: the answer was not yes")

// ask returns nil with consent.
func (c *consent) ask(question string) error {
	if c.yes {
		return nil
	}
	fmt.Fprintf(c.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(c.stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	if err != nil {
		fmt.Fprintln(c.stderr)
	}
	return errDeclined
}
