package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/pauses"
)

// completeWithin bounds looking into a store for what can be completed.
const completeWithin = 2 * time.Second

// completer returns the values that a person may be typing. What cannot be
// found out is not completed: a shell has no place for errors.
type completer func(ctx context.Context, cmd *cobra.Command, p process) []string

// flagValues completes the values of flags, wherever they are.
var flagValues = map[string]completer{
	"shard":        shardIDs,
	"reason":       fixed(daemon.DeadLetterReasons()...),
	"consumer":     consumerNames,
	"webhook":      webhookNames,
	"type":         fixed(gerrit.Types()...),
	"filter-types": fixed(gerrit.Types()...),
	"verdict":      fixed("queued", "filtered", "dead"),
	"order":        fixed(orderQueue, orderArrival),
	"start-at":     fixed("latest", "trim-horizon"),
	"create":       fixed("first", "last"),
}

// argumentValues completes the first argument of commands, by their path.
var argumentValues = map[string]completer{
	"gerritstream pause":          shardIDs,
	"gerritstream resume":         pausedShards,
	"gerritstream queue ack":      consumerNames,
	"gerritstream queue show":     consumerNames,
	"gerritstream queue seek":     consumerNames,
	"gerritstream queue filter":   consumerNames,
	"gerritstream queue rm":       consumerNames,
	"gerritstream webhook pause":  webhookNames,
	"gerritstream webhook resume": webhookNames,
	"gerritstream webhook rm":     webhookNames,
	"gerritstream webhook test":   webhookNames,
}

// completeValues has the values of flags and arguments completed in a command
// and those below it.
func completeValues(cmd *cobra.Command, p process) {
	for _, sub := range cmd.Commands() {
		completeValues(sub, p)
	}
	words := map[string][]string{}
	for _, s := range config.Settings() {
		words[s.Flag] = s.Words()
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		values := flagValues[f.Name]
		switch formats, ok := f.Value.(*output); {
		case ok:
			values = fixed(formats.formats...)
		case f.Name == "store":
			_ = cmd.RegisterFlagCompletionFunc(f.Name, completeStore) // the flag exists
			return
		case values == nil && len(words[f.Name]) > 0:
			values = fixed(words[f.Name]...)
		}
		if values != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, completing(p, values, true))
		}
	})
	if values := argumentValues[cmd.CommandPath()]; values != nil {
		cmd.ValidArgsFunction = completing(p, values, false)
	}
}

// completing makes a completer what cobra calls. Of several values separated by
// commas a flag's last one is completed. Only the first argument is.
func completing(p process, values completer, flag bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if !flag && len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
		defer cancel()
		before := ""
		if i := strings.LastIndexByte(typed, ','); i >= 0 {
			before, typed = typed[:i+1], typed[i+1:]
		}
		var found []string
		for _, v := range values(ctx, cmd, p) {
			if strings.HasPrefix(v, typed) {
				found = append(found, before+v)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// fixed completes to the same words everywhere.
func fixed(words ...string) completer {
	return func(context.Context, *cobra.Command, process) []string { return words }
}

// storeOf returns the configuration of the store that the flags typed so far
// name; nil: it is not complete.
func storeOf(cmd *cobra.Command, p process) *config.Config {
	src := sources(cmd, p)
	src.StoreOnly = true
	c, err := config.Load(src)
	if err != nil {
		return nil
	}
	return &c
}

// shardIDs are the shards that the store has positions or leaders of.
func shardIDs(ctx context.Context, cmd *cobra.Command, p process) (ids []string) {
	c := storeOf(cmd, p)
	if c == nil {
		return nil
	}
	in, err := c.Inspect(ctx)
	if err != nil {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(in.Shards)) {
		ids = append(ids, string(id))
	}
	return ids
}

// pausedShards are the shards with a pause of their own.
func pausedShards(ctx context.Context, cmd *cobra.Command, p process) (ids []string) {
	c := storeOf(cmd, p)
	if c == nil {
		return nil
	}
	set, err := c.Pauses(ctx)
	if err != nil {
		return nil
	}
	for i := range set {
		if set[i].Shard != pauses.All {
			ids = append(ids, string(set[i].Shard))
		}
	}
	return ids
}

// consumerNames are the consumers of the queue, webhooks among them.
func consumerNames(ctx context.Context, cmd *cobra.Command, p process) (names []string) {
	c := storeOf(cmd, p)
	if c == nil {
		return nil
	}
	known, err := c.Consumers(ctx)
	if err != nil {
		return nil
	}
	for i := range known.Consumers {
		names = append(names, known.Consumers[i].Name)
	}
	return names
}

// webhookNames are the webhooks that are configured, and those that the store
// knows.
func webhookNames(ctx context.Context, cmd *cobra.Command, p process) (names []string) {
	c := storeOf(cmd, p)
	if c == nil {
		return nil
	}
	known, err := c.Consumers(ctx)
	if err != nil {
		return slices.Sorted(maps.Keys(c.Receivers()))
	}
	for _, v := range known.Views(time.Now()) {
		names = append(names, v.Name)
	}
	return names
}

// completeStore completes the address of a store: databases and folders for
// sqlite:PATH.
func completeStore(_ *cobra.Command, _ []string, typed string) (found []string, _ cobra.ShellCompDirective) {
	const scheme = "sqlite:"
	path, ok := strings.CutPrefix(typed, scheme)
	if !ok {
		for _, s := range []string{scheme, "postgres://", "zookeeper://"} {
			if strings.HasPrefix(s, typed) {
				found = append(found, s)
			}
		}
		return found, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
	paths, _ := filepath.Glob(path + "*") // a path with special characters completes to nothing
	for _, name := range paths {
		info, err := os.Stat(name)
		switch {
		case err != nil:
		case info.IsDir():
			found = append(found, scheme+name+"/")
		case filepath.Ext(name) == ".db":
			found = append(found, scheme+name)
		}
	}
	return found, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}
