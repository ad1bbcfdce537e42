package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/spf13/cobra"
)

func newDeadletter(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deadletter",
		Short: "Look at records that were put aside, queue them after all, or drop them",
		Long: `Look at records that were put aside because they are no sound events, or because a sink refused them; queue them after
all, or drop them. All of it may be done while processes run.`,
		Example: `  gerritstream deadletter list
  gerritstream deadletter show 0123456789abcdef0123456789abcdef --payload > record
  gerritstream deadletter retry --all
  gerritstream deadletter drop --all --reason json --yes`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDeadletterList(p), newDeadletterShow(p), newDeadletterRetry(p), newDeadletterDrop(p))
	return cmd
}

// letterFilter chooses dead letters.
type letterFilter struct{ reason, shard string }

// register gives a command the flags.
func (f *letterFilter) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.reason, "reason", "", "only those with this `reason`")
	cmd.Flags().StringVar(&f.shard, "shard", "", "only those of this `shard`")
}

func (f *letterFilter) takes(l *gerritstream.StoredDeadLetter) bool {
	return (f.reason == "" || l.DeadLetter.Reason == f.reason) && (f.shard == "" || string(l.DeadLetter.Shard) == f.shard)
}

// chosenLetters are the dead letters that a command is about: named, or all
// that a filter takes.
type chosenLetters struct {
	letterFilter
	all bool
	ids []gerritstream.EventID // named
}

func (c *chosenLetters) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.all, "all", false, "all dead letters, or all that --reason and --shard leave")
	c.letterFilter.register(cmd)
}

// parse checks the command line.
func (c *chosenLetters) parse(cmd *cobra.Command, args []string) error {
	switch {
	case (len(args) > 0) == c.all:
		return &usageError{cmd.CommandPath(), errors.New("name the dead letters by their ids, or take them --all")}
	case !c.all && c.letterFilter != letterFilter{}:
		return &usageError{cmd.CommandPath(), errors.New("--reason and --shard go with --all")}
	}
	for _, arg := range args {
		id, err := parseEventID(arg)
		if err != nil {
			return &usageError{cmd.CommandPath(), err}
		}
		if !slices.Contains(c.ids, id) {
			c.ids = append(c.ids, id)
		}
	}
	return nil
}

// find returns the ids of the dead letters, the oldest first; one that is named
// must be there.
func (c *chosenLetters) find(ctx context.Context, o operated) ([]gerritstream.EventID, error) {
	if !c.all {
		for _, id := range c.ids {
			if _, err := o.DeadLetter(ctx, id); err != nil {
				return nil, err
			}
		}
		return c.ids, nil
	}
	var ids []gerritstream.EventID
	for l, err := range o.DeadLetters(ctx) {
		if err != nil {
			return nil, err
		}
		if c.takes(&l) {
			ids = append(ids, l.DeadLetter.ID)
		}
	}
	slices.Reverse(ids)
	return ids, nil
}

// parseEventID reads an id: 32 hexadecimal digits, with or without the dashes
// of a UUID.
func parseEventID(s string) (id gerritstream.EventID, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("%q is not the id of a dead letter: 32 hexadecimal digits", s)
	}
	copy(id[:], raw)
	return id, nil
}

// letterView is what is said of a dead letter, as JSON. Its payload is not part
// of it.
type letterView struct {
	ID       gerritstream.EventID        `json:"id"`
	Shard    gerritstream.ShardID        `json:"shard"`
	Sequence gerritstream.SequenceNumber `json:"sequence"`
	Sub      *int                        `json:"sub,omitempty"` // of an aggregate
	Arrived  time.Time                   `json:"arrived"`
	PutAside time.Time                   `json:"put_aside"`
	Reason   string                      `json:"reason"`
	Detail   string                      `json:"detail"`
	Length   int                         `json:"length"` // of the record, in bytes
	Kept     int                         `json:"kept"`   // of these
	SHA256   string                      `json:"sha256"`
}

func viewOf(l *gerritstream.StoredDeadLetter) letterView {
	v := letterView{
		ID: l.DeadLetter.ID, Shard: l.DeadLetter.Shard, Sequence: l.DeadLetter.Seq, Arrived: l.DeadLetter.Arrived.UTC(), PutAside: l.StoredAt.UTC(),
		Reason: l.DeadLetter.Reason, Detail: printable(l.DeadLetter.Detail), Length: l.DeadLetter.Length, Kept: len(l.DeadLetter.Payload), SHA256: hex.EncodeToString(l.DeadLetter.SHA256[:]),
	}
	if l.DeadLetter.Sub != gerritstream.NoSub {
		v.Sub = &l.DeadLetter.Sub
	}
	return v
}

// size says how long the record is, and how much of it is kept.
func (v *letterView) size() string {
	if v.Kept < v.Length {
		return fmt.Sprintf("%d (%d kept)", v.Length, v.Kept)
	}
	return fmt.Sprint(v.Length)
}

// readAgain says how a record can be read from the stream once more.
func readAgain(l *gerritstream.StoredDeadLetter) string {
	return fmt.Sprintf("to read it from the stream again, as long as that keeps it: gerritstream checkpoint set --shard %s --to %s --dry-run",
		l.DeadLetter.Shard, l.DeadLetter.Arrived.UTC().Format(time.RFC3339Nano))
}
