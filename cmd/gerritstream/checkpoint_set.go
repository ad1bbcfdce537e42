package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/when"
)

func newCheckpointSet(p process) *cobra.Command {
	s := checkpointSet{output: outputFlag("table", "json")}
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Move the read position of shards",
		Long: `Move the read position of shards, whether or not processes run:

  --to SEQUENCE-NUMBER   after this record of one shard. The stream is not asked: if it rejects the number, the process
                         that reads the shard does what --on-bad-checkpoint says.
  --to TIME              to what arrived at this time or later, by Kinesis' clock: 2026-01-31T08:00:00Z
  --to trim-horizon      to the oldest record that the stream keeps
  --to latest            to about 10 s before now

Records after the new position that were handled before are read and queued again. Records before it that were not
handled are skipped: they are recorded as possibly lost, and ` + "`status`" + ` shows them. --dry-run prints what
would be read again and what would be skipped, as far as positions, arrival times and the stream's retention show.

A shard that has ended is reopened if something in it is to be read again, or if the stream lists it as open. With
--all, children are read after their parents, as always; a single shard that is moved back does not hold up children
that are being read already.`,
		Example: `  gerritstream checkpoint set --all --to 2026-01-31T08:00:00Z --dry-run --stream gerrit --region us-west-2
  gerritstream checkpoint set --shard shardId-000000000000 --to trim-horizon --config /etc/gerritstream/gerrit.yaml
  gerritstream checkpoint set --shard shardId-000000000000 --yes \
      --to 49590338271490256608559692538361571095921575989136588898`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.parse(cmd); err != nil {
				return err
			}
			return operate(cmd, p, s.target.After != "", s.run)
		},
	}
	cmd.Flags().StringArrayVar(&s.shards, "shard", nil, "the `shard` to move; may be repeated")
	cmd.Flags().BoolVar(&s.all, "all", false, "move all shards that the stream lists")
	cmd.Flags().StringVar(&s.to, "to", "", "the new `position`: a sequence number, a time, trim-horizon or latest")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "only print what would change")
	s.confirm = confirmFlag(cmd, p)
	s.output.register(cmd)
	settingFlags(cmd, config.ForStream)
	return cmd
}

// checkpointSet is one run of `checkpoint set`.
type checkpointSet struct {
	confirm *confirmation
	output  *output
	shards  []string
	to      string
	all     bool
	dryRun  bool
	command string

	target  plan.ResetTarget
	listing gerritstream.Listing // empty if the target is a sequence number
	stored  gerritstream.Stored
}

// parse checks the command line.
func (s *checkpointSet) parse(cmd *cobra.Command) (err error) {
	s.command = cmd.CommandPath()
	if (len(s.shards) > 0) == s.all {
		return s.usage("name shards with --shard, or pass --all")
	}
	if s.target, err = parseTarget(s.to); err != nil {
		return s.usage("%w", err)
	}
	if s.target.After != "" && len(s.shards) != 1 {
		return s.usage("a sequence number belongs to one shard: name it with --shard")
	}
	if s.dryRun {
		return nil
	}
	return s.confirm.possible(cmd)
}

func (s *checkpointSet) usage(format string, args ...any) error {
	return &usageError{s.command, fmt.Errorf(format, args...)}
}

// parseTarget reads the value of --to.
func parseTarget(to string) (plan.ResetTarget, error) {
	switch {
	case to == "":
		return plan.ResetTarget{}, errors.New("--to is required: a sequence number, a time, trim-horizon or latest")
	case to == "trim-horizon":
		return plan.ResetTarget{TrimHorizon: true}, nil
	case to == "latest":
		return plan.ResetTarget{Latest: true}, nil
	case strings.Trim(to, "0123456789") == "":
		after, err := gerritstream.ParseSequenceNumber(to)
		return plan.ResetTarget{After: after}, err
	}
	t, err := when.Parse(to, time.Now())
	if err != nil {
		return plan.ResetTarget{}, fmt.Errorf("--to %q is not a sequence number, trim-horizon, latest or a time "+
			"(2026-01-31T08:00:00Z or -24h)", to)
	}
	return plan.ResetTarget{Time: t.UTC()}, nil
}

// run plans the changes, reports them, and carries them out once confirmed.
func (s *checkpointSet) run(ctx context.Context, o operated, c *config.Config) error {
	if err := s.read(ctx, o, c); err != nil {
		return err
	}
	shards, err := s.selected()
	if err != nil {
		return err
	}
	planned := resetReport{output: s.output, reread: o.reread, planned: true}
	for _, shard := range shards {
		input, err := s.input(ctx, o, shard)
		if err != nil {
			return err
		}
		var stored *gerritstream.Position
		if held, ok := s.stored.Positions[shard]; ok {
			stored = &held.Position
		}
		if s.target.After != "" && stored != nil && stored.After != "" && len(stored.After) != len(s.target.After) {
			return s.usage("%s has %d digits, but the sequence numbers of this shard have %d",
				s.target.After, len(s.target.After), len(stored.After))
		}
		reset := plan.Reset(s.target, stored, input)
		if reset.To != nil {
			if err := o.store.CheckPosition(ctx, s.stored.Epoch(), shard, *reset.To); err != nil {
				return fmt.Errorf("set the position of %s: %w", shard, err)
			}
		}
		planned.add(shard, reset)
	}
	if s.dryRun || planned.changes == 0 {
		return planned.write(s.confirm.process.stdout)
	}
	if !s.confirm.yes {
		table := planned
		table.output = outputFlag("table")
		if err := table.write(s.confirm.process.stderr); err != nil {
			return err
		}
	}
	if err := s.confirm.ask(fmt.Sprintf("Set the position of %s?", plural(planned.changes, "shard"))); err != nil {
		return err
	}
	return s.set(ctx, o, &planned)
}

// read reads what is stored, and lists the stream if the target needs that.
func (s *checkpointSet) read(ctx context.Context, o operated, c *config.Config) (err error) {
	if s.target.After != "" {
		if s.stored, err = o.store.Stored(ctx); err == nil && s.stored.Origin == nil {
			err = errNoOrigin
		}
		return err
	}
	if s.listing, s.stored, err = listFor(ctx, o, c); err != nil {
		return err
	}
	if s.target.Time.After(s.listing.Now) {
		return &usageError{s.command, plan.FutureStart(s.target.Time, s.listing.Now)}
	}
	return nil
}

// selected returns the shards to set, parents before their children.
func (s *checkpointSet) selected() (shards []gerritstream.ShardID, err error) {
	known := map[gerritstream.ShardID]bool{}
	for _, shard := range s.listing.Shards {
		known[shard.ID] = true
		if s.all {
			shards = append(shards, shard.ID)
		}
	}
	if s.target.After != "" {
		for shard := range s.stored.Positions {
			known[shard] = true
		}
	}
	for _, name := range s.shards {
		shard := gerritstream.ShardID(name)
		switch {
		case !known[shard] && s.target.After != "":
			return nil, s.usage("shard %q has no position yet; to set one, pass a time or trim-horizon", name)
		case !known[shard]:
			return nil, s.usage("the stream has no shard %q", name)
		}
		shards = append(shards, shard)
	}
	slices.Sort(shards) // ids grow from parents to children
	return slices.Compact(shards), nil
}

// input gathers what the plan for a shard needs besides its position.
func (s *checkpointSet) input(
	ctx context.Context, o operated, shard gerritstream.ShardID,
) (in plan.ResetInput, err error) {
	in = plan.ResetInput{Now: s.listing.Now, Earliest: plan.EarliestArrival(shard, s.stored, s.listing.Shards)}
	if s.target.After == "" {
		in.Open = slices.ContainsFunc(s.listing.Shards, func(l gerritstream.Shard) bool {
			return l.ID == shard && l.Last == ""
		})
		in.Horizon = plan.Horizon(s.stored.Origin, s.listing)
		return in, nil
	}
	in.Now = time.Now() // only bounds what may be lost: nothing is read from this time on
	id := gerritstream.NewEventID(s.stored.Origin.Stream, shard, s.target.After, gerritstream.NoSub)
	dead, err := o.store.DeadLetter(ctx, id)
	switch {
	case errors.Is(err, gerritstream.ErrNoDeadLetter):
		return in, nil
	case err == nil:
		in.Arrived = dead.DeadLetter.Arrived
	}
	return in, err
}

// errUnchanged: the position needs no change by the time it is to be set.
var errUnchanged = errors.New("unchanged")

// set sets the positions, and reports the result of each.
func (s *checkpointSet) set(ctx context.Context, o operated, planned *resetReport) error {
	done := resetReport{output: s.output, reread: o.reread}
	var failed error
	for i := range planned.shards {
		shard := planned.shards[i].Shard
		input, err := s.input(ctx, o, shard)
		var reset plan.ResetPlan
		if err == nil {
			err = o.store.SetPosition(ctx, s.stored.Epoch(), shard,
				func(held *gerritstream.StoredPosition) (gerritstream.Position, error) {
					var stored *gerritstream.Position
					if held != nil {
						stored = &held.Position
					}
					if reset = plan.Reset(s.target, stored, input); reset.To == nil {
						return gerritstream.Position{}, errUnchanged
					}
					return *reset.To, nil
				})
		}
		if err != nil && !errors.Is(err, errUnchanged) {
			failed = fmt.Errorf("set the position of %s, after %s: %w", shard, plural(done.changes, "other"), err)
			done.failed = true
			break
		}
		done.add(shard, reset)
	}
	return errors.Join(done.write(s.confirm.process.stdout), failed)
}
