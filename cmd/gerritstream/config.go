package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/telemetry"
)

func newConfig(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the configuration of run",
		Long:  `Check and show the configuration of run: give the flags, the variables and the files that run gets.`,
		Example: `  gerritstream config check --live --config /etc/gerritstream/gerrit.yaml
  gerritstream config show --config /etc/gerritstream/gerrit.yaml`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(p), newConfigShow(p))
	return cmd
}

func newConfigCheck(p process) *cobra.Command {
	output := outputFlag("table", "json")
	live := false
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report everything that is wrong with the configuration",
		Long: `Report everything that is wrong with the configuration of run, each fault as a line with its place: file,
line and column, variable or flag. Doubtful settings are named and are no faults.

With --live, and no fault, also try whether run would work: credentials, each permission of the policy, stream, clock,
store, the queue's reader, the addresses of the webhooks' receivers, and the collector of traces. Nothing is changed:
of the stream at most one record is read, no consumer is registered, no subscription taken over, and receivers get
nothing. What cannot be tried in this way is not known. Run it as the user and on the host that run has.

The exit code is 0, or that which run would end with for the first fault.`,
		Example: `  gerritstream config check --config /etc/gerritstream/gerrit.yaml
  gerritstream config check --live --zuul-conf /etc/zuul/zuul.conf --connection gerrit
  gerritstream config check --live --stream gerrit --region us-west-2 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			src := sources(cmd, p)
			c, err := config.Load(src)
			traces, faults := tracesOf(p)
			rows := append(staticRows(&c, src, err), tracesRows(traces, faults)...)
			if live && traces.On() {
				rows = append(rows, liveRow(daemon.CheckTraces(ctx, traces)))
			}
			switch {
			case live && err == nil:
				for _, found := range daemon.CheckLive(ctx, &c) {
					rows = append(rows, liveRow(found))
				}
				if ctx.Err() != nil {
					return errors.New("interrupted")
				}
			case live:
				rows = append(rows, checkRow{Check: "live", Result: string(daemon.Unknown),
					Detail: "not tried: the configuration has faults"})
			}
			if err := writeChecks(p.stdout, rows, output); err != nil {
				return err
			}
			return verdictOf(rows)
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "also try AWS, the store and the webhooks' receivers")
	output.register(cmd)
	settingFlags(cmd, config.ForRun)
	return cmd
}

// checkRow is one line of the result of "config check".
type checkRow struct {
	Result string `json:"result"`
	Check  string `json:"check"`
	Detail string `json:"detail,omitempty"`
	Place  string `json:"place,omitempty"` // file, line and column; variable or flag
	Do     string `json:"do,omitempty"`    // what to do

	err error // nil unless it is wrong
}

// Results besides those of package daemon.
const doubtful = "doubtful"

// staticRows returns the rows about the configuration itself. err is of
// config.Load.
func staticRows(c *config.Config, src config.Sources, err error) (rows []checkRow) {
	if rows = faultRows("configuration", err); len(rows) == 0 {
		explained, _ := config.Explain(src) // its error is err
		rows = append(rows, checkRow{
			Result: string(daemon.Fine), Check: "configuration", Detail: config.Given(explained, src),
		})
	}
	for _, text := range append(c.Notes, c.Doubts()...) {
		rows = append(rows, checkRow{Result: doubtful, Check: "configuration", Detail: text})
	}
	return rows
}

// faultRows returns a row for each fault.
func faultRows(check string, err error) (rows []checkRow) {
	var faults config.Faults
	errors.As(err, &faults)
	for i := range faults {
		f := &faults[i]
		rows = append(rows, checkRow{
			Result: string(daemon.Wrong), Check: check, Place: f.Place.String(),
			Detail: config.Fault{Key: f.Key, Problem: f.Problem}.Error(), err: config.Faults{*f},
		})
	}
	return rows
}

// tracesRows returns the rows about OpenTelemetry's variables; none if they ask
// for nothing.
func tracesRows(c *telemetry.Config, err error) []checkRow {
	rows := faultRows("traces", err)
	if c.On() {
		rows = append(rows, checkRow{Result: string(daemon.Fine), Check: "traces", Detail: c.String()})
	}
	return rows
}

// liveRow returns the row for something that was tried, with what to do.
func liveRow(found daemon.Checked) checkRow {
	row := checkRow{Result: string(found.Result), Check: found.Check, Detail: found.Detail, err: found.Err}
	if found.Err != nil {
		_, row.Do = judge(found.Err)
	}
	return row
}

// writeChecks writes the result.
func writeChecks(w io.Writer, rows []checkRow, output *output) error {
	if output.is("json") {
		return writeIndented(w, rows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range rows {
		r := &rows[i]
		text := r.Detail
		if r.Place != "" {
			text = r.Place + ": " + text
		}
		if r.Do != "" {
			text += "; " + r.Do
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.Result, r.Check, printable(text))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// failedChecks says that checks failed. They were printed; what it wraps
// decides the exit code.
type failedChecks struct {
	count int
	first error
}

func (e *failedChecks) Error() string { return plural(e.count, "fault") + " found" }

func (e *failedChecks) Unwrap() error { return e.first }

// verdictOf returns the error of a result; nil: nothing is wrong.
func verdictOf(rows []checkRow) error {
	failed := &failedChecks{}
	for i := range rows {
		if err := rows[i].err; err != nil {
			failed.count++
			if failed.first == nil {
				failed.first = err
			}
		}
	}
	if failed.count == 0 {
		return nil
	}
	return failed
}

func newConfigShow(p process) *cobra.Command {
	output := outputFlag("table", "json")
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show every setting, and where its value comes from",
		Long: `Show every setting with the value that run would use and where that comes from: a flag, a variable, a
line of the configuration file or of a zuul.conf, or the default. Of secrets nothing is shown, and of webhooks' URLs
scheme and host. If something is wrong, the faults follow on standard error.`,
		Example: `  gerritstream config show --config /etc/gerritstream/gerrit.yaml
  gerritstream config show --stream gerrit -o json | jq '.[] | select(.from != "default")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, faults := config.Explain(sources(cmd, p))
			if err := writeSettings(p.stdout, all, output); err != nil {
				return err
			}
			return faults
		},
	}
	output.register(cmd)
	settingFlags(cmd, config.ForRun)
	return cmd
}

func writeSettings(w io.Writer, all []config.Explained, output *output) error {
	if output.is("json") {
		return writeIndented(w, all)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tVALUE\tFROM")
	for i := range all {
		s := &all[i]
		from := s.Place
		if from == "" {
			from = string(s.From)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Key, dash(printable(s.Value)), printable(from))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	return nil
}

// writeIndented writes a value as JSON for programs and people.
func writeIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}
