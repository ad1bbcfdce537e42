package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/pauses"
)

func newPause(p process) *cobra.Command {
	var c pausing
	cmd := &cobra.Command{
		Use:   "pause [SHARD]...",
		Short: "Keep shards from being read, for maintenance",
		Long: `Keep shards from being read until "resume", whichever process leads them or is started later. Positions
stay, so nothing is lost as long as the stream keeps the records: its retention goes on, and status shows how much is
left. Once the command has returned, no process of gerritstream queues anything of these shards; the leaders keep their
leaderships. Zuul's own listener knows of no pause: the command says where it leads.

A pause with --for ends by itself, by the stream's clock, as long as a process runs that lists the stream. Shards that
are paused already keep the time since when they are; --reason and --for replace what was given before.`,
		Example: `  gerritstream pause --all --reason "upgrade of Zuul" --for 2h
  gerritstream pause 3 --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream pause shardId-000000000003 --zuul-conf /etc/zuul/zuul.conf`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.parse(cmd, args); err != nil {
				return err
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, conf *config.Config) error {
				return c.pause(ctx, p, o, conf)
			})
		},
	}
	cmd.Flags().BoolVar(&c.all, "all", false, "pause all shards, those that open later among them")
	cmd.Flags().StringVar(&c.why, "reason", "", "`text` that says why; status and the page show it")
	cmd.Flags().DurationVar(&c.span, "for", 0, "end by itself after this `duration`, such as 2h30m")
	settingFlags(cmd, config.ForStore)
	return cmd
}

func newResume(p process) *cobra.Command {
	var c pausing
	cmd := &cobra.Command{
		Use:   "resume [SHARD]...",
		Short: "Let paused shards be read again",
		Long: `Let shards be read again that were paused. Their leaders go on within a second or two, from where they
were. With --all every pause ends.`,
		Example: `  gerritstream resume --all
  gerritstream resume 3 --store sqlite:/var/lib/gerritstream/gerrit.db`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.parse(cmd, args); err != nil {
				return err
			}
			return operate(cmd, p, true, func(ctx context.Context, o operated, conf *config.Config) error {
				return c.resume(ctx, p, o, conf)
			})
		},
	}
	cmd.Flags().BoolVar(&c.all, "all", false, "end every pause")
	settingFlags(cmd, config.ForStore)
	return cmd
}

// pausing is one run of `pause` or `resume`.
type pausing struct {
	all  bool
	why  string
	span time.Duration // 0: none

	named []string // shards, as typed
	given bool     // a reason or an end
}

// parse checks the command line.
func (c *pausing) parse(cmd *cobra.Command, args []string) error {
	usage := func(text string) error { return &usageError{cmd.CommandPath(), errors.New(text)} }
	c.named, c.given = args, cmd.Flags().Changed("reason") || cmd.Flags().Changed("for")
	switch {
	case (len(args) > 0) == c.all:
		return usage("name shards, or pass --all")
	case cmd.Flags().Changed("for") && c.span < time.Second:
		return usage("--for is below 1s")
	case len(c.why) > pauses.MaxText:
		return usage(fmt.Sprintf("--reason has more than %d bytes", pauses.MaxText))
	}
	return nil
}

// keeper returns the store as one that can pause shards.
func keeper(o operated, conf *config.Config) (pauses.Keeper, error) {
	k, ok := o.store.(pauses.Keeper)
	if !ok {
		return nil, fmt.Errorf("%s: shards of this store cannot be paused", &conf.Store)
	}
	return k, nil
}

// resolve returns the shards that were named, in full or as status shows them.
func (c *pausing) resolve(in *gerritstream.Inspection) ([]gerritstream.ShardID, error) {
	if c.all {
		return []gerritstream.ShardID{pauses.All}, nil
	}
	known := map[gerritstream.ShardID]bool{}
	for id := range in.Shards {
		known[id] = true
	}
	for i := range in.Reports {
		for j := range in.Reports[i].Status.Shards {
			known[in.Reports[i].Status.Shards[j].Shard] = true
		}
	}
	ids := slices.Sorted(maps.Keys(known))
	var found []gerritstream.ShardID
	for _, name := range c.named {
		i := slices.IndexFunc(ids, func(id gerritstream.ShardID) bool {
			return string(id) == name || overview.Short(id) == name
		})
		if i < 0 {
			return nil, unknownShard(name, ids)
		}
		found = append(found, ids[i])
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// unknownShard names those that there are.
func unknownShard(name string, ids []gerritstream.ShardID) error {
	if len(ids) == 0 {
		return fmt.Errorf("shard %s: no process has run on this store yet", name)
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = overview.Short(id)
	}
	return fmt.Errorf("shard %s: there is no such shard; there are %s", name, trouble.SomeOf(names))
}

// shardName is what people call a shard, or all of them.
func shardName(id gerritstream.ShardID) string {
	if id == pauses.All {
		return "all shards"
	}
	return "shard " + overview.Short(id)
}

// pause pauses shards.
func (c *pausing) pause(ctx context.Context, p process, o operated, conf *config.Config) error {
	k, err := keeper(o, conf)
	if err != nil {
		return err
	}
	in, err := conf.Inspect(ctx)
	if err != nil {
		return err
	}
	shards, err := c.resolve(&in)
	if err != nil {
		return err
	}
	for _, id := range shards {
		if pos := in.Shards[id].Position; pos != nil && pos.Ended {
			return fmt.Errorf("%s has ended: there is nothing to pause", shardName(id))
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	var before pauses.Set
	set, err := k.ChangePauses(ctx, func(s pauses.Set) (pauses.Set, error) {
		before = s
		for _, id := range shards {
			is, already := s.Has(id)
			if already && !c.given {
				continue
			}
			next := pauses.Pause{Shard: id, Since: now, By: whoPauses(), Reason: c.why}
			if already {
				next.Since = is.Since
			}
			if c.span > 0 {
				next.Until = now.Add(c.span)
			}
			s = s.With(next)
		}
		return s, nil
	})
	if err != nil {
		return err
	}
	for _, id := range shards {
		is, _ := set.Has(id)
		already := ""
		if _, had := before.Has(id); had && !c.given {
			already = "already "
		}
		fmt.Fprintf(p.stderr, "gerritstream: %s: %s%s\n", shardName(id), already, printable(is.String()))
	}
	if in.Origin == nil {
		fmt.Fprintf(p.stderr, "gerritstream: no process has run on this store yet; those that will keep to it\n")
	}
	warnUnbound(p, &in, set)
	return nil
}

// warnUnbound says which paused shards another program leads.
func warnUnbound(p process, in *gerritstream.Inspection, set pauses.Set) {
	var names []string
	leader := ""
	for _, id := range slices.Sorted(maps.Keys(in.Shards)) {
		s := in.Shards[id]
		_, paused := set.Of(id)
		if paused && s.Foreign && (s.Position == nil || !s.Position.Ended) {
			names, leader = append(names, overview.Short(id)), s.Leader
		}
	}
	if len(names) > 0 {
		fmt.Fprintf(p.stderr, "gerritstream: warning: %s leads shards %s and keeps to no pause: it goes on queuing "+
			"events until it is stopped\n", leader, trouble.SomeOf(names))
	}
}

// whoPauses names the person at the command line: USER@HOST.
func whoPauses() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); err == nil {
		name = cmp.Or(name, u.Username)
	}
	host, _ := os.Hostname()
	who := cmp.Or(name, "somebody") + "@" + cmp.Or(host, "localhost")
	return strings.ToValidUTF8(who[:min(len(who), pauses.MaxText)], "?")
}

// resume ends pauses.
func (c *pausing) resume(ctx context.Context, p process, o operated, conf *config.Config) error {
	k, err := keeper(o, conf)
	if err != nil {
		return err
	}
	stored, err := k.Pauses(ctx)
	if err != nil {
		return err
	}
	if c.all {
		if len(stored) == 0 {
			fmt.Fprintln(p.stderr, "gerritstream: no shard is paused")
			return nil
		}
		if _, err := k.ChangePauses(ctx, func(pauses.Set) (pauses.Set, error) { return nil, nil }); err != nil {
			return err
		}
		fmt.Fprintln(p.stderr, "gerritstream: all shards are read again, within a second or two")
		return nil
	}
	in, err := conf.Inspect(ctx)
	if err != nil {
		return err
	}
	known := maps.Clone(in.Shards)
	for _, s := range stored { // one that is gone from the store can be resumed as well
		if _, there := known[s.Shard]; !there && s.Shard != pauses.All {
			known[s.Shard] = gerritstream.InspectedShard{}
		}
	}
	in.Shards = known
	shards, err := c.resolve(&in)
	if err != nil {
		return err
	}
	if _, all := stored.Has(pauses.All); all {
		return fmt.Errorf("%s is paused with all shards: `resume --all` ends that", shardName(shards[0]))
	}
	_, err = k.ChangePauses(ctx, func(s pauses.Set) (pauses.Set, error) {
		for _, id := range shards {
			s = s.Without(id)
		}
		return s, nil
	})
	if err != nil {
		return err
	}
	for _, id := range shards {
		if _, was := stored.Has(id); was {
			fmt.Fprintf(p.stderr, "gerritstream: %s is read again, within a second or two\n", shardName(id))
		} else {
			fmt.Fprintf(p.stderr, "gerritstream: %s is not paused\n", shardName(id))
		}
	}
	return nil
}

// whyPaused says why a command may queue nothing of a shard; empty: it is not
// paused.
func whyPaused(ctx context.Context, o operated, shard gerritstream.ShardID) (string, error) {
	k, ok := o.store.(pauses.Keeper)
	if !ok {
		return "", nil
	}
	set, err := k.Pauses(ctx)
	if is, paused := set.Of(shard); err == nil && paused {
		return "its shard is " + printable(is.String()), nil
	}
	return "", err
}
