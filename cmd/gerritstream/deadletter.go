package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
)

func newDeadletter(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deadletter",
		Short: "Show, re-check and drop dead letters",
		Long: `Show, re-check and drop dead letters: records that are not valid events, or that a sink refused, and
events that a webhook gave up. All of this may be done while processes run.`,
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

// deadLetterFilter is the flags that narrow dead letters down.
type deadLetterFilter struct{ reason, shard, hook string }

func (f *deadLetterFilter) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.reason, "reason", "", "only those with this `reason`")
	cmd.Flags().StringVar(&f.shard, "shard", "", "only those of this `shard`")
	hookFlag(cmd, &f.hook)
}

func hookFlag(cmd *cobra.Command, hook *string) {
	cmd.Flags().StringVar(hook, "webhook", "", "only those that the webhook of this `name` gave up")
}

func (f *deadLetterFilter) matches(d *heldLetter) bool {
	return (f.reason == "" || f.reason == d.stored.DeadLetter.Reason) &&
		(f.shard == "" || f.shard == string(d.stored.DeadLetter.Shard)) && (f.hook == "" || f.hook == d.hook)
}

// deadLetterSelection is the dead letters that a command changes: named ones,
// or all that match a filter.
type deadLetterSelection struct {
	filter deadLetterFilter
	all    bool
	ids    []gerritstream.EventID // named
}

func (s *deadLetterSelection) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.all, "all", false, "all dead letters, or all that match --reason, --shard and --webhook")
	s.filter.register(cmd)
}

// parse checks the command line.
func (s *deadLetterSelection) parse(cmd *cobra.Command, args []string) error {
	switch {
	case (len(args) > 0) == s.all:
		return &usageError{cmd.CommandPath(), errors.New("name dead letters by id, or pass --all")}
	case !s.all && s.filter.reason+s.filter.shard != "":
		return &usageError{cmd.CommandPath(), errors.New("--reason and --shard need --all")}
	}
	for _, arg := range args {
		id, err := parseEventID(arg)
		if err != nil {
			return &usageError{cmd.CommandPath(), err}
		}
		if !slices.Contains(s.ids, id) {
			s.ids = append(s.ids, id)
		}
	}
	return nil
}

// find returns the keys of the selected dead letters, the oldest first. Named
// ones must exist.
func (s *deadLetterSelection) find(ctx context.Context, o operated) (keys []letterKey, err error) {
	for _, id := range s.ids {
		found, err := o.deadLettersOf(ctx, id, s.filter.hook)
		if err != nil {
			return nil, err
		}
		for i := range found {
			keys = append(keys, found[i].key())
		}
	}
	if !s.all {
		return keys, nil
	}
	for d, err := range o.deadLetters(ctx) {
		if err != nil {
			return nil, err
		}
		if s.filter.matches(&d) {
			keys = append(keys, d.key())
		}
	}
	slices.Reverse(keys)
	return keys, nil
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

// deadLetterView is a dead letter as JSON, without its payload.
type deadLetterView struct {
	ID       gerritstream.EventID        `json:"id"`
	Shard    gerritstream.ShardID        `json:"shard"`
	Sequence gerritstream.SequenceNumber `json:"sequence"`
	Sub      *int                        `json:"sub,omitempty"` // within an aggregate
	Arrived  time.Time                   `json:"arrived"`
	StoredAt time.Time                   `json:"put_aside"`
	Reason   string                      `json:"reason"`
	Webhook  string                      `json:"webhook,omitempty"` // that gave it up
	Detail   string                      `json:"detail"`
	Length   int                         `json:"length"` // of the record, in bytes
	Kept     int                         `json:"kept"`   // of these
	SHA256   string                      `json:"sha256"`
}

func viewOf(held *heldLetter) deadLetterView {
	d := &held.stored.DeadLetter
	v := deadLetterView{
		ID: d.ID, Shard: d.Shard, Sequence: d.Seq, Arrived: d.Arrived.UTC(), StoredAt: held.stored.StoredAt.UTC(),
		Reason: d.Reason, Webhook: held.hook, Detail: printable(d.Detail), Length: d.Length, Kept: len(d.Payload),
		SHA256: hex.EncodeToString(d.SHA256[:]),
	}
	if d.Sub != gerritstream.NoSub {
		v.Sub = &d.Sub
	}
	return v
}

// size writes how long the record is, and how much of it is kept.
func (v *deadLetterView) size() string {
	if v.Kept < v.Length {
		return fmt.Sprintf("%d (%d kept)", v.Length, v.Kept)
	}
	return fmt.Sprint(v.Length)
}

// truncated explains that a part of a record is missing, and how to get it.
func truncated(d *gerritstream.DeadLetter) string {
	return fmt.Sprintf("only the first %d of %d bytes are kept; to read the whole record while the stream keeps it: "+
		"gerritstream checkpoint set --shard %s --to %s --dry-run",
		len(d.Payload), d.Length, d.Shard, d.Arrived.UTC().Format(time.RFC3339Nano))
}
