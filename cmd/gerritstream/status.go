package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
)

// statusTimeout bounds reading the store.
const statusTimeout = 10 * time.Second

func newStatus(p process) *cobra.Command {
	output := outputFlag("table", "json")
	var check bool
	var lostAfter string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the processes and shards of a store",
		Long: `Show the processes and shards of a store: each shard with its state, leader and position and the age of
its last event and commit; the length of the queue, the dead letters, and records that may have been lost. Only
reads the store.

With --check, trouble makes the exit code 3: no process, a shard that is not read or is stalled, nothing committed for
two minutes, records that may have been lost, events that expired before any consumer read them, a webhook whose
receiver has failed for five minutes or wants no more. --lost-after ignores losses that are known already.`,
		Example: `  gerritstream status --store sqlite:/var/lib/gerritstream/gerrit.db
  gerritstream status --zuul-conf /etc/zuul/zuul.conf --connection gerrit
  gerritstream status --config /etc/gerritstream/gerrit.yaml -o json
  gerritstream status --check --lost-after 2026-01-31T08:00:00Z`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := statusInput{now: time.Now()}
			if lostAfter != "" {
				t, err := when.Parse(lostAfter, in.now)
				if err != nil {
					return &usageError{cmd.CommandPath(), fmt.Errorf("--lost-after: %w", err)}
				}
				in.lostAfter = t
			}
			src := sources(cmd, p)
			src.StoreOnly = true
			c, err := config.Load(src)
			if err != nil {
				return err
			}
			return showStatus(cmd.Context(), p, &c, in, output, check)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit with code 3 if there is trouble")
	cmd.Flags().StringVar(&lostAfter, "lost-after", "", "ignore losses that ended before this `time`")
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// showStatus inspects the store and prints the result.
func showStatus(ctx context.Context, p process, c *config.Config, in statusInput, output *output, check bool) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	inspection, err := c.Inspect(ctx)
	if err != nil && check {
		return &checkError{err}
	}
	if err != nil {
		return err
	}
	known, err := c.Consumers(ctx)
	if err != nil {
		return err
	}
	in.hooks = known.Views(in.now)
	in.consumers = slices.DeleteFunc(known.Consumers, func(info queue.Info) bool {
		_, hook := queue.WebhookOf(info.Name)
		return hook
	})
	in.connection, in.store, in.inspection = c.Connection, c.Store.String(), inspection
	v := in.view()
	if output.is("json") {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(&v)
	} else if err = v.writeTable(p.stdout); !check { // the findings of a check go to stderr
		v.writeTrouble(p.stdout)
	}
	if err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	if found := v.findings(); check && found != nil {
		return &checkError{found}
	}
	return nil
}

// writeTable writes the status for people.
func (v *statusView) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "connection   %s\nstore        %s\n", v.Connection, v.Store)
	if o := v.Origin; o != nil {
		fmt.Fprintf(w, "stream       %s\norigin       %s\n", o.Stream.ARN, originText(o))
	}
	names := make([]string, len(v.Processes))
	for i, p := range v.Processes {
		names[i] = p.Process
	}
	fmt.Fprintf(w, "processes    %s\n", dash(strings.Join(names, ", ")))
	fmt.Fprintf(w, "queue        %d events%s\n", v.Queue, countIn(v.Expired, " (%d more expired)"))
	fmt.Fprintf(w, "dead letters %d%s\n", v.DeadLetters, countIn(v.Discarded, " (%d more were only counted)"))
	for i := range v.Consumers {
		fmt.Fprintf(w, "consumer     %s\n", consumerText(&v.Consumers[i], v.now))
	}
	for i := range v.Webhooks {
		fmt.Fprintf(w, "webhook      %s: %s\n", printable(v.Webhooks[i].Name), printable(v.Webhooks[i].Text(v.now)))
	}
	if len(v.Shards) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SHARD\tSTATE\tLEADER\tLAST EVENT\tLAST COMMIT\tPOSITION")
	for i := range v.Shards {
		s := &v.Shards[i]
		position := "-"
		if s.Position != nil {
			position = s.Position.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n",
			s.Shard, s.stateText(), dash(s.Leader), ago(s.LastEventAge), ago(s.LastCommitAge), position)
	}
	return t.Flush()
}

// consumerText says in a line how far a consumer is.
func consumerText(c *queue.Info, now time.Time) string {
	text := printable(c.Name) + ": nothing waits"
	if c.Pending > 0 {
		text = fmt.Sprintf("%s: %s wait, the oldest for %s",
			printable(c.Name), plural(int(c.Pending), "event"), when.Span(now.Sub(c.Oldest)))
	}
	if c.Reader == "" {
		return text + "; nobody reads"
	}
	return text + "; read by " + printable(c.Reader)
}

// writeTrouble writes what an operator should look at.
func (v *statusView) writeTrouble(w io.Writer) {
	if len(v.Trouble) > 0 {
		fmt.Fprintln(w)
	}
	for _, line := range v.Trouble {
		fmt.Fprintf(w, "trouble: %s\n", line)
	}
}

// originText writes where the stream began, and how often it was recreated.
func originText(o *gerritstream.Origin) string {
	from := "trim horizon"
	if !o.From.TrimHorizon {
		from = o.From.Time.UTC().Format(time.RFC3339)
	}
	switch {
	case o.Epoch == 1:
		return from + "; the stream was recreated since"
	case o.Epoch > 1:
		return fmt.Sprintf("%s; the stream was recreated %d times since", from, o.Epoch)
	}
	return from
}

// stateText writes the shard's state, with the parents it waits for or its lag.
func (s *shardView) stateText() string {
	switch {
	case len(s.WaitingFor) > 0 && s.State == gerritstream.StateWaiting:
		parents := make([]string, len(s.WaitingFor))
		for i, id := range s.WaitingFor {
			parents[i] = string(id)
		}
		return fmt.Sprintf("%s %s", s.State, strings.Join(parents, ", "))
	case s.Lag != nil && *s.Lag >= 1:
		return fmt.Sprintf("%s, lag %s", s.State, ago(s.Lag))
	}
	return string(s.State)
}

// ago writes seconds for people.
func ago(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return time.Duration(*seconds * float64(time.Second)).Round(time.Second).String()
}

// countIn writes a count in its format, or nothing for none.
func countIn(n int64, format string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

// dash stands for an empty string.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
