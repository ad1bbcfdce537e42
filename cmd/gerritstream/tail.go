package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/api"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sink"
)

// tailing holds the flags of `tail`.
type tailing struct {
	process    process
	since      string
	last       int
	stop       bool
	fromStream bool
	filter     queue.Filter
	verdicts   []string // empty: all that the source has
	format     string
	output     *output

	begin    time.Time // what since means; zero: not given
	matcher  queue.Matcher
	template *template.Template // nil: none
}

func newTail(p process) *cobra.Command {
	t := &tailing{process: p, output: outputFlag("pretty", "jsonl", "cloudevents")}
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show events as they are queued, filtered or dead-lettered",
		Long: `Show what became of the last events, and of those that come, until SIGINT or SIGTERM. It only looks: it
joins no election, writes nothing and acknowledges nothing ("queue read" does). Standard error says where it looks:

  a running process   with --socket, if one serves it: its last 2,000 verdicts and those that come, filtered events
                      with the rule that dropped them, dead letters with the reason
  the store's queue   otherwise: the events that are queued
  the stream          with --from-stream: Kinesis itself, at one read a second of each shard, which all its readers
                      share; verdicts are those of the filter that is configured here

On a terminal an event is a line for people (-o pretty), in a pipe a line of JSON (-o jsonl). --format takes a Go
template over the fields of -o jsonl: .N .ID .Type .Project .Ref .Change .Shard .Arrived .Created .Queued .Payload
.Verdict .Rule .Reason .At and others. Times:
` + when.Forms + `.`,
		Example: `  gerritstream tail
  gerritstream tail --socket unix:/run/gerritstream/gerrit.sock --verdict filtered,dead
  gerritstream tail --since -1h --type 'change-*' --project 'platform/*'
  gerritstream tail -n 1000 --stop | jq -r .type | sort | uniq -c
  gerritstream tail --from-stream --stream gerrit --region us-west-2
  gerritstream tail --format '{{.At.Format "15:04:05"}} {{.Type}} {{.Project}}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("output") && !isTerminal(p.stdout) {
				t.output.value = "jsonl"
			}
			if err := t.check(cmd); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			src := sources(cmd, p)
			src.StoreOnly = !t.fromStream
			c, err := config.Load(src)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			return t.run(ctx, &c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&t.since, "since", "", "begin at this `time`")
	f.IntVarP(&t.last, "lines", "n", 10, "begin with this `number` of last events")
	f.BoolVar(&t.stop, "stop", false, "end with the newest event instead of waiting for more")
	f.BoolVar(&t.fromStream, "from-stream", false, "read Kinesis itself")
	f.StringSliceVar(&t.filter.Types, "type", nil, "only events of this `type`; \"change-*\" is a beginning")
	f.StringSliceVar(&t.filter.Projects, "project", nil, "only events of this `project`, likewise")
	f.StringSliceVar(&t.filter.Refs, "ref", nil, "only events about this `ref`, likewise")
	f.StringSliceVar(&t.verdicts, "verdict", nil,
		"only events with this `verdict`: "+strings.Join(api.Verdicts(), ", "))
	f.StringVar(&t.format, "format", "", "write events by this Go `template`")
	t.output.register(cmd)
	settingFlags(cmd, config.ForStream, "filter.", "socket")
	return cmd
}

func (t *tailing) check(cmd *cobra.Command) (err error) {
	for _, v := range t.verdicts {
		if !slices.Contains(api.Verdicts(), v) {
			return fmt.Errorf("--verdict %q is none of %s", v, strings.Join(api.Verdicts(), ", "))
		}
	}
	switch {
	case t.since != "" && cmd.Flags().Changed("lines"):
		return errors.New("--since and --lines both say where to begin; give one of them")
	case t.fromStream && cmd.Flags().Changed("lines"):
		return errors.New("the stream cannot be read backwards: --from-stream goes with --since, not with --lines")
	case t.last < 0:
		return fmt.Errorf("--lines %d is below 0", t.last)
	case t.format != "" && cmd.Flags().Changed("output"):
		return errors.New("--format and --output both say how to write events; give one of them")
	}
	if t.since != "" {
		now := time.Now()
		if t.begin, err = when.Parse(t.since, now); err != nil {
			return fmt.Errorf("--since: %w", err)
		}
		if t.begin.After(now) {
			return fmt.Errorf("--since: %q is %s", t.since, when.Format(t.begin, now))
		}
	}
	if t.matcher, err = t.filter.Matcher(); err != nil || t.format == "" {
		return err
	}
	t.template, err = template.New("--format").Parse(t.format)
	if err == nil {
		err = t.template.Execute(&bytes.Buffer{}, api.Verdict{}) // a field that is not there shows now
	}
	return err
}

// say tells a person, on standard error, what is shown.
func (t *tailing) say(format string, args ...any) {
	fmt.Fprintf(t.process.stderr, "gerritstream: "+format+"\n", args...)
}

// run shows events until ctx ends, which is no error.
func (t *tailing) run(ctx context.Context, c *config.Config) error {
	if t.since != "" {
		t.say("events since %s", when.Format(t.begin, time.Now()))
	}
	if t.fromStream {
		return t.show(ctx, t.ofStream(ctx, c))
	}
	if lines, err := t.ofProcess(ctx, c); err != nil || lines != nil {
		if err != nil {
			return err
		}
		return t.show(ctx, lines)
	}
	return t.showQueue(ctx, c)
}

// show writes the verdicts that are asked for, until ctx ends.
func (t *tailing) show(ctx context.Context, verdicts iter.Seq2[api.Verdict, error]) error {
	colour := t.process.hasColour()
	for v, err := range verdicts {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case len(t.verdicts) > 0 && !slices.Contains(t.verdicts, v.Verdict):
			continue
		case !t.matcher.Keeps(&gerritstream.Event{Type: v.Type, Project: v.Project, Ref: v.Ref}):
			continue
		}
		if err := t.write(&v, colour); err != nil {
			return fmt.Errorf("write event: %w", err)
		}
	}
	return nil
}

func (t *tailing) write(v *api.Verdict, colour bool) (err error) {
	var line bytes.Buffer
	switch {
	case t.template != nil:
		err = t.template.Execute(&line, v)
		line.WriteByte('\n')
	case t.output.is("pretty"):
		line.WriteString(prettyVerdict(v, colour))
	case t.output.is("cloudevents"):
		err = sink.NewStdout(&line, "").Deliver(context.Background(), []gerritstream.Entry{entryOf(v)})
	default:
		err = writeLine(&line, v)
	}
	if err == nil {
		_, err = t.process.stdout.Write(line.Bytes())
	}
	return err
}

// entryOf returns what a verdict is about. One that is not queued has it as an
// attribute.
func entryOf(v *api.Verdict) gerritstream.Entry {
	e := gerritstream.Entry{
		Shard: gerritstream.ShardID(v.Shard), Seq: gerritstream.SequenceNumber(v.Sequence), Sub: gerritstream.NoSub,
		Arrived: v.Arrived, Payload: v.Payload,
		Event: gerritstream.Event{
			Type: v.Type, Project: v.Project, Ref: v.Ref, Change: v.Change, Created: v.Created,
			Attributes: v.Attributes,
		},
	}
	_, _ = hex.Decode(e.ID[:], []byte(v.ID)) // it was written by a gerritstream
	if v.Sub != nil {
		e.Sub = *v.Sub
	}
	if v.Bytes != nil {
		e.Payload = v.Bytes
	}
	if v.Verdict != api.Queued {
		e.Event.Attributes = map[string]string{"verdict": v.Verdict, "why": v.Rule + v.Reason}
	}
	return e
}

// prettyVerdict writes a verdict as a line for people: local time, type,
// change, project and ref, and why it is not queued.
func prettyVerdict(v *api.Verdict, colour bool) string {
	parts := []string{
		paint(colour, dim, v.At.Local().Format("15:04:05.000")),
		paint(colour, typeColour(v.Type), fmt.Sprintf("%-22s", printable(cmp.Or(v.Type, "-")))),
	}
	if v.Change != 0 {
		parts = append(parts, paint(colour, bold, "#"+strconv.FormatInt(v.Change, 10)))
	}
	for _, text := range []string{printable(v.Project), paint(colour && v.Ref != "", dim, printable(v.Ref))} {
		if text != "" {
			parts = append(parts, text)
		}
	}
	switch v.Verdict {
	case api.Filtered:
		parts = append(parts, paint(colour, "33", "filtered: "+printable(v.Rule)))
	case api.Dead:
		parts = append(parts, paint(colour, "31", "dead letter: "+printable(v.Reason)), printable(v.Detail))
	}
	return strings.TrimRight(strings.Join(parts, " "), " ") + "\n"
}

// typeColour returns the ANSI colour of a type: one for each kind of news.
func typeColour(eventType string) string {
	switch {
	case strings.HasPrefix(eventType, "change-"):
		return green
	case strings.HasPrefix(eventType, "patchset-"):
		return "36"
	case strings.HasPrefix(eventType, "comment-"), strings.HasPrefix(eventType, "reviewer-"),
		strings.HasPrefix(eventType, "vote-"):
		return "33"
	case strings.HasPrefix(eventType, "ref-"):
		return "35"
	}
	return "34"
}
