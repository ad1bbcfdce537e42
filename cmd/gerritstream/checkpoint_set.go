package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/spf13/cobra"
)

func newCheckpointSet(p process) *cobra.Command {
	s := setting{output: outputFlag("table", "json")}
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Have shards read from somewhere else",
		Long: `Have shards read from somewhere else, while processes run or while none does:

  --to SEQUENCE-NUMBER   behind this record of one shard. The stream is not asked: if it does not accept the number, the
                         process that reads the shard does what --on-bad-checkpoint says.
  --to TIME              with what arrived then or later, by the service's clock: 2026-01-31T08:00:00Z
  --to trim-horizon      with the oldest record kept
  --to latest            about 10 s before now

What was handled and is behind the new position is read and queued again. What was not handled and is before it is
not read: that is recorded with the position as possibly lost, and ` + "`status`" + ` shows it. With --dry-run it is only said what
would be read again and what would be left out, as far as positions, arrival times and the stream's retention tell.

Shards that have ended are opened again where something in them is to be read again, or where the stream lists them as open. With --all, children are read
after their parents, as ever; a single shard that is sent back does not hold up its children that are read already.`,
		Example: `  gerritstream checkpoint set --all --to 2026-01-31T08:00:00Z --dry-run --stream gerrit --region us-west-2
  gerritstream checkpoint set --shard shardId-000000000000 --to trim-horizon --yes --config /etc/gerritstream/gerrit.yaml
  gerritstream checkpoint set --shard shardId-000000000000 --to 49590338271490256608559692538361571095921575989136588898`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.parse(cmd); err != nil {
				return err
			}
			return operate(cmd, p, s.aim.After != "", s.run)
		},
	}
	cmd.Flags().StringArrayVar(&s.shards, "shard", nil, "the `shard`; several with the flag again")
	cmd.Flags().BoolVar(&s.all, "all", false, "all shards that the stream lists")
	cmd.Flags().StringVar(&s.to, "to", "", "`where` to read from: a sequence number, a time, trim-horizon or latest")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "only say what it would do")
	s.consent = consentFlag(cmd, p)
	s.output.register(cmd)
	settingFlags(cmd, config.ForStream)
	return cmd
}

// setting is one `checkpoint set`.
type setting struct {
	*consent
	output  *output
	shards  []string
	to      string
	all     bool
	dryRun  bool
	command string

	aim     plan.ResetTarget
	listing gerritstream.Listing // empty with a sequence number
	stored  gerritstream.Stored
}

// parse checks the command line.
func (s *setting) parse(cmd *cobra.Command) error {
	s.command = cmd.CommandPath()
	if (len(s.shards) > 0) == s.all {
		return s.usage("name the shards with --shard, or take them --all")
	}
	aim, err := parseAim(s.to)
	if err != nil {
		return &usageError{s.command, err}
	}
	if aim.After != "" && len(s.shards) != 1 {
		return s.usage("a sequence number is of one shard: name it with --shard")
	}
	s.aim = aim
	if s.dryRun {
		return nil
	}
	return s.possible(cmd)
}

func (s *setting) usage(format string, args ...any) error {
	return &usageError{s.command, fmt.Errorf(format, args...)}
}

// parseAim reads where a shard is to be read from.
func parseAim(to string) (plan.ResetTarget, error) {
	switch {
	case to == "":
		return plan.ResetTarget{}, errors.New("say with --to where to read from: a sequence number, a time, trim-horizon or latest")
	case to == "trim-horizon":
		return plan.ResetTarget{TrimHorizon: true}, nil
	case to == "latest":
		return plan.ResetTarget{Latest: true}, nil
	case strings.Trim(to, "0123456789") == "":
		after, err := gerritstream.ParseSequenceNumber(to)
		return plan.ResetTarget{After: after}, err
	}
	t, err := time.Parse(time.RFC3339, to)
	if err != nil {
		return plan.ResetTarget{}, fmt.Errorf("--to %q is no sequence number, no time such as 2026-01-31T08:00:00Z, not trim-horizon and not latest", to)
	}
	return plan.ResetTarget{Time: t.UTC()}, nil
}

// run sees what there is, says what would be done, and does it.
func (s *setting) run(ctx context.Context, o operated, c *config.Config) error {
	if err := s.look(ctx, o, c); err != nil {
		return err
	}
	shards, err := s.chosen()
	if err != nil {
		return err
	}
	plan := report{output: s.output, doubled: o.doubled, would: true}
	for _, shard := range shards {
		m, err := s.moment(ctx, o, shard)
		if err != nil {
			return err
		}
		var stored *gerritstream.Position
		if held, ok := s.stored.Positions[shard]; ok {
			stored = &held.Position
		}
		if err := s.plausible(stored); err != nil {
			return err
		}
		move := s.aim.Plan(stored, m)
		if move.To != nil {
			if err := o.CheckPosition(ctx, s.stored.Epoch(), shard, *move.To); err != nil {
				return fmt.Errorf("set the position of %s: %w", shard, err)
			}
		}
		plan.add(shard, move)
	}
	if s.dryRun || plan.changes == 0 {
		return plan.write(s.stdout)
	}
	if !s.yes {
		if err := plan.people().write(s.stderr); err != nil {
			return err
		}
	}
	if err := s.ask(fmt.Sprintf("Set the position of %s?", plural(plan.changes, "shard"))); err != nil {
		return err
	}
	return s.set(ctx, o, &plan)
}

// look reads what is stored, and lists the stream where that is needed.
func (s *setting) look(ctx context.Context, o operated, c *config.Config) (err error) {
	if s.aim.After == "" {
		if s.listing, s.stored, err = listFor(ctx, o, c); err != nil {
			return err
		}
		if s.aim.Time.After(s.listing.Now) {
			return &usageError{s.command, plan.FutureStart(s.aim.Time, s.listing.Now)}
		}
		return nil
	}
	if s.stored, err = o.Stored(ctx); err == nil && s.stored.Origin == nil {
		err = errNothingBegun
	}
	return err
}

// chosen returns the shards to set, parents before their children.
func (s *setting) chosen() (shards []gerritstream.ShardID, err error) {
	known := map[gerritstream.ShardID]bool{}
	for _, shard := range s.listing.Shards {
		known[shard.ID] = true
		if s.all {
			shards = append(shards, shard.ID)
		}
	}
	if s.aim.After != "" {
		for shard := range s.stored.Positions {
			known[shard] = true
		}
	}
	for _, name := range s.shards {
		shard := gerritstream.ShardID(name)
		switch {
		case !known[shard] && s.aim.After != "":
			return nil, s.usage("the store has no position of shard %q; for one that has not begun, give a time or trim-horizon", name)
		case !known[shard]:
			return nil, s.usage("the stream lists no shard %q", name)
		}
		shards = append(shards, shard)
	}
	slices.Sort(shards) // ids grow from parents to children
	return slices.Compact(shards), nil
}

// plausible refuses a sequence number that cannot be one of the shard.
func (s *setting) plausible(stored *gerritstream.Position) error {
	if s.aim.After == "" || stored == nil || stored.After == "" || len(stored.After) == len(s.aim.After) {
		return nil
	}
	return s.usage("%s has %d digits, and the sequence numbers of this shard have %d", s.aim.After, len(s.aim.After), len(stored.After))
}

// moment gathers what is known besides a shard's position.
func (s *setting) moment(ctx context.Context, o operated, shard gerritstream.ShardID) (m plan.ResetInput, err error) {
	m = plan.ResetInput{Now: s.listing.Now, Earliest: plan.EarliestArrival(shard, s.stored, s.listing.Shards)}
	if s.aim.After == "" {
		m.Open = slices.ContainsFunc(s.listing.Shards, func(l gerritstream.Shard) bool { return l.ID == shard && l.Last == "" })
		m.Horizon = plan.HorizonOf(s.stored.Origin, s.listing)
		return m, nil
	}
	// Nothing is read from this time on: it only bounds what may be lost.
	m.Now = time.Now()
	letter, err := o.DeadLetter(ctx, gerritstream.NewEventID(s.stored.Origin.Stream, shard, s.aim.After, gerritstream.NoSub))
	switch {
	case errors.Is(err, gerritstream.ErrNoDeadLetter):
	case err != nil:
		return m, err
	default:
		m.Arrived = letter.DeadLetter.Arrived
	}
	return m, nil
}

// errStays: the position is where it is wanted, now that it is to be set.
var errStays = errors.New("it stays")

// set sets the positions, and reports what each came to.
func (s *setting) set(ctx context.Context, o operated, planned *report) error {
	done := report{output: s.output, doubled: o.doubled}
	var failed error
	for i := range planned.moves {
		shard := planned.moves[i].Shard
		m, err := s.moment(ctx, o, shard)
		var move plan.ResetPlan
		if err == nil {
			err = o.SetPosition(ctx, s.stored.Epoch(), shard, func(held *gerritstream.StoredPosition) (gerritstream.Position, error) {
				var stored *gerritstream.Position
				if held != nil {
					stored = &held.Position
				}
				if move = s.aim.Plan(stored, m); move.To == nil {
					return gerritstream.Position{}, errStays
				}
				return *move.To, nil
			})
		}
		if err != nil && !errors.Is(err, errStays) {
			failed = fmt.Errorf("set the position of %s (those of %s were set before): %w", shard, plural(done.changes, "shard"), err)
			done.failed = true
			break
		}
		done.add(shard, move)
	}
	return errors.Join(done.write(s.stdout), failed)
}
