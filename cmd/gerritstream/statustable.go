package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gerritstream/gerritstream"
)

// writeTable writes the status for a person.
func (v *statusView) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "connection   %s\nstore        %s\n", v.Connection, v.Store)
	if s := v.Start; s != nil {
		fmt.Fprintf(w, "stream       %s\nbegun        %s\n", s.Stream.ARN, begun(s))
	}
	fmt.Fprintf(w, "processes    %s\n", v.processes())
	fmt.Fprintf(w, "queue        %d events%s\n", v.Queue, also(v.Expired, "removed after their retention"))
	fmt.Fprintf(w, "dead letters %d%s\n", v.DeadLetters, also(v.Discarded, "of which only the count is left"))
	if len(v.Shards) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return v.writeShards(w)
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

func (v *statusView) writeShards(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SHARD\tSTATE\tLEADER\tLAST EVENT\tLAST COMMIT\tPOSITION")
	for i := range v.Shards {
		s := &v.Shards[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Shard, s.state(), dash(s.Leader), ago(s.LastEventAge),
			ago(s.LastCommitAge), s.position())
	}
	return t.Flush()
}

// begun says where the stream was begun.
func begun(s *gerritstream.Origin) string {
	at := "at its trim horizon"
	if !s.From.TrimHorizon {
		at = "at " + s.From.Time.UTC().Format(time.RFC3339)
	}
	switch {
	case s.Epoch == 1:
		at += "; the stream was recreated since"
	case s.Epoch > 1:
		at += fmt.Sprintf("; the stream was recreated %d times since", s.Epoch)
	}
	return at
}

// processes names the running processes.
func (v *statusView) processes() string {
	names := make([]string, len(v.Processes))
	for i, p := range v.Processes {
		names[i] = p.Process
	}
	return dash(strings.Join(names, ", "))
}

// state says what is done with the shard, and for what it waits or how far it
// is behind.
func (s *shardView) state() string {
	switch {
	case len(s.WaitingFor) > 0 && s.State == gerritstream.StateWaiting:
		parents := make([]string, len(s.WaitingFor))
		for i, id := range s.WaitingFor {
			parents[i] = string(id)
		}
		return fmt.Sprintf("%s %s", s.State, strings.Join(parents, ", "))
	case s.BehindSeconds != nil && *s.BehindSeconds >= 1:
		return fmt.Sprintf("%s, %s behind", s.State, ago(s.BehindSeconds))
	}
	return string(s.State)
}

func (s *shardView) position() string {
	if s.Position == nil {
		return "-"
	}
	return s.Position.String()
}

// ago writes seconds as a person says them.
func ago(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return time.Duration(*seconds * float64(time.Second)).Round(time.Second).String()
}

// also adds a count in brackets unless it is zero.
func also(n int64, what string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d %s)", n, what)
}

// dash stands for nothing.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
