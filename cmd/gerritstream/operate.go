package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/webhook"
)

// operated is a store that a command looks at or changes.
type operated struct {
	store  gerritstream.Operator
	hooks  webhook.Letters // nil: the store has no webhooks
	reread string          // for people: what the queue makes of events that are read again
}

// operate opens the configured store, calls do, and closes the store. With
// storeOnly the configuration need not name a stream.
func operate(cmd *cobra.Command, p process, storeOnly bool,
	do func(ctx context.Context, o operated, c *config.Config) error,
) error {
	src := sources(cmd, p)
	src.StoreOnly = storeOnly
	c, err := config.Load(src)
	if err != nil {
		return err
	}
	store, err := c.OpenOperator(cmd.Context())
	if err != nil {
		return err
	}
	o := operated{store: store, reread: c.Store.Kind.Reread + " Sinks receive all of them again, under the same ids."}
	o.hooks, _ = store.(webhook.Letters) // Zuul consumes the other queue
	return errors.Join(do(cmd.Context(), o, &c), store.Close(context.WithoutCancel(cmd.Context())))
}

// errNoOrigin: no process has ever run on the store.
var errNoOrigin = errors.New("no process has run on this store yet; run --start-at chooses where a stream begins")

// listFor lists the stream, then reads what the store holds, and returns an
// error unless they belong together.
func listFor(ctx context.Context, o operated, c *config.Config) (
	l gerritstream.Listing, stored gerritstream.Stored, err error,
) {
	if l, err = daemon.ListStream(ctx, c); err != nil {
		return l, stored, err
	}
	if stored, err = o.store.Stored(ctx); err != nil {
		return l, stored, err
	}
	switch origin := stored.Origin; {
	case origin == nil:
		return l, stored, errNoOrigin
	case origin.Stream.ARN != l.Stream.ARN:
		return l, stored, plan.OtherStream(origin, l)
	case origin.Stream.Created.UnixMilli() != l.Stream.Created.UnixMilli():
		return l, stored, errors.New("the stream was deleted and recreated; start a process on the store first")
	}
	return l, stored, nil
}

// confirmation is the --yes flag of a command that changes something.
type confirmation struct {
	process process
	yes     bool
}

func confirmFlag(cmd *cobra.Command, p process) *confirmation {
	c := &confirmation{process: p}
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "do not ask for confirmation")
	return c
}

// possible returns an error if the command can neither ask nor go on without
// asking. Call it before anything is done.
func (c *confirmation) possible(cmd *cobra.Command) error {
	if c.yes || isTerminal(c.process.stdin) {
		return nil
	}
	return &usageError{cmd.CommandPath(), errors.New("confirmation needed but stdin is not a terminal; pass --yes")}
}

var errDeclined = errors.New("not confirmed; nothing was changed")

// ask returns nil if the person at the terminal, or --yes, confirms.
func (c *confirmation) ask(question string) error {
	if c.yes {
		return nil
	}
	fmt.Fprintf(c.process.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(c.process.stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	if err != nil {
		fmt.Fprintln(c.process.stderr)
	}
	return errDeclined
}

// writeLine writes one value as a line of JSON.
func writeLine(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// printable replaces what a terminal would interpret.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// plural writes a count of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return thousands(n) + " " + thing + "s"
}
