package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/spf13/cobra"
)

// operated is a store as commands change it.
type operated struct {
	gerritstream.Operator
	doubled string // what its queue makes of events that are read once more, for people
}

// operate opens the store for a command and closes it behind it. storeOnly: no
// stream need be named.
func operate(cmd *cobra.Command, p process, storeOnly bool, do func(ctx context.Context, o operated, c *config.Config) error) error {
	src := sources(cmd, p)
	src.StoreOnly = storeOnly
	c, err := config.Load(src)
	if err != nil {
		return err
	}
	o, err := c.OpenOperator(cmd.Context())
	if err != nil {
		return err
	}
	doubled := c.Store.Kind.Reread + " Sinks get them again, under the same ids."
	return errors.Join(do(cmd.Context(), operated{o, doubled}, &c), o.Close(context.WithoutCancel(cmd.Context())))
}

// errNothingBegun: no process has ever run on the store.
var errNothingBegun = errors.New("nothing has begun on this store: where a stream begins is said to run, with --start-at")

// listFor lists the stream and reads what is stored, in this order, and sees to
// it that they belong together.
func listFor(ctx context.Context, o operated, c *config.Config) (l gerritstream.Listing, stored gerritstream.Stored, err error) {
	if l, err = daemon.ListStream(ctx, c); err != nil {
		return l, stored, err
	}
	if stored, err = o.Stored(ctx); err != nil {
		return l, stored, err
	}
	switch start := stored.Origin; {
	case start == nil:
		return l, stored, errNothingBegun
	case start.Stream.ARN != l.Stream.ARN:
		return l, stored, plan.OtherStream(start, l)
	case start.Stream.Created.UnixMilli() != l.Stream.Created.UnixMilli():
		return l, stored, errors.New("the stream was deleted and made anew: let a process run on the store first, which starts over")
	}
	return l, stored, nil
}

// writeLine writes one value as a line of JSON.
func writeLine(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// printable replaces what a terminal would act on.
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
