package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
)

// tailing holds the flags of `tail`.
type tailing struct {
	process process
	since   string
	last    int
	stop    bool
	filter  queue.Filter
	format  string
	output  *output

	matcher  queue.Matcher
	template *template.Template // nil: none
}

func newTail(p process) *cobra.Command {
	t := &tailing{process: p, output: outputFlag("pretty", "jsonl", "cloudevents")}
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show events as they are queued",
		Long: `Show the last events of a SQLite store's queue, and those that are queued from then on, until SIGINT or
SIGTERM. It only looks: it changes nothing and acknowledges nothing ("queue read" does).

On a terminal an event is a line for people (-o pretty), in a pipe a line of JSON (-o jsonl). --format takes a Go
template over the fields of -o jsonl: .N .ID .Type .Project .Ref .Change .Shard .Arrived .Created .Queued .Payload and
others. Times:
` + when.Forms + `.`,
		Example: `  gerritstream tail
  gerritstream tail --since -1h --type 'change-*' --project 'platform/*'
  gerritstream tail -n 1000 --stop | jq -r .type | sort | uniq -c
  gerritstream tail --format '{{.Queued.Format "15:04:05"}} {{.Type}} {{.Project}}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("output") && !isTerminal(p.stdout) {
				t.output.value = "jsonl"
			}
			if err := t.check(cmd); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			src := sources(cmd, p)
			src.StoreOnly = true
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
	f.StringSliceVar(&t.filter.Types, "type", nil, "only events of this `type`; \"change-*\" is a beginning")
	f.StringSliceVar(&t.filter.Projects, "project", nil, "only events of this `project`, likewise")
	f.StringSliceVar(&t.filter.Refs, "ref", nil, "only events about this `ref`, likewise")
	f.StringVar(&t.format, "format", "", "write events by this Go `template`")
	t.output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

func (t *tailing) check(cmd *cobra.Command) (err error) {
	switch {
	case t.since != "" && cmd.Flags().Changed("lines"):
		return errors.New("--since and --lines both say where to begin; give one of them")
	case t.last < 0:
		return fmt.Errorf("--lines %d is below 0", t.last)
	case t.format != "" && cmd.Flags().Changed("output"):
		return errors.New("--format and --output both say how to write events; give one of them")
	}
	if t.matcher, err = t.filter.Matcher(); err != nil || t.format == "" {
		return err
	}
	t.template, err = template.New("--format").Parse(t.format)
	if err == nil {
		err = t.template.Execute(&bytes.Buffer{}, queuedView{}) // a field that is not there shows now
	}
	return err
}

// run shows events until ctx ends, which is no error.
func (t *tailing) run(ctx context.Context, c *config.Config) (err error) {
	r, err := c.OpenQueueReader(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close(context.WithoutCancel(ctx))) }()
	events, err := t.events(ctx, r)
	if err != nil {
		return err
	}
	colour := t.process.hasColour()
	for e, err := range events {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case !t.matcher.Keeps(&e.Entry.Event):
			continue
		}
		var line bytes.Buffer
		switch {
		case t.template != nil:
			view := viewQueued(&e)
			err = t.template.Execute(&line, &view)
			line.WriteByte('\n')
		case t.output.is("pretty"):
			line.WriteString(prettyEvent(&e, colour))
		default:
			err = writeEvents(&line, t.output, []queue.Event{e})
		}
		if err == nil {
			_, err = t.process.stdout.Write(line.Bytes())
		}
		if err != nil {
			return fmt.Errorf("write event %d: %w", e.Number, err)
		}
	}
	return nil
}

// events returns the events to show, those that the filter drops among them.
func (t *tailing) events(ctx context.Context, r config.QueueReader) (_ iter.Seq2[queue.Event, error], err error) {
	var after int64
	if t.since == "" {
		after, err = r.Last(ctx, t.last, t.matcher)
	} else if after, err = t.sinceNumber(ctx, r); err == nil {
		after--
	}
	if err != nil {
		return nil, err
	}
	if t.stop {
		return r.Events(ctx, after), nil
	}
	return r.Follow(ctx, after), nil
}

func (t *tailing) sinceNumber(ctx context.Context, r config.QueueReader) (int64, error) {
	now := time.Now()
	at, err := when.Parse(t.since, now)
	if err != nil {
		return 0, &usageError{"gerritstream tail", fmt.Errorf("--since: %w", err)}
	}
	fmt.Fprintf(t.process.stderr, "gerritstream: events since %s\n", when.Format(at, now))
	return r.Since(ctx, at)
}

// prettyEvent writes an event as a line for people: local time of queueing,
// type, change, project and ref.
func prettyEvent(e *queue.Event, colour bool) string {
	is := &e.Entry.Event
	parts := []string{
		paint(colour, dim, e.Queued.Local().Format("15:04:05.000")),
		paint(colour, typeColour(is.Type), fmt.Sprintf("%-22s", printable(cmp.Or(is.Type, "-")))),
	}
	if is.Change != 0 {
		parts = append(parts, paint(colour, bold, "#"+strconv.FormatInt(is.Change, 10)))
	}
	parts = append(parts, printable(is.Project), paint(colour, dim, printable(is.Ref)))
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
