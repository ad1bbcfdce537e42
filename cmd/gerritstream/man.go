package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newMan returns the command that makes the manual pages of the packages. It
// is hidden: those who install a package have them already.
func newMan(process) *cobra.Command {
	return &cobra.Command{
		Use:     "man FOLDER",
		Short:   "Write the manual pages into a folder",
		Example: "  gerritstream man /usr/local/share/man/man1",
		Args:    cobra.ExactArgs(1),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.Root().InitDefaultHelpCmd()
			cmd.Root().InitDefaultCompletionCmd()
			return writePages(cmd.Root(), args[0])
		},
	}
}

// writePages writes the page of a command, and those of its subcommands.
func writePages(cmd *cobra.Command, folder string) error {
	var page bytes.Buffer
	printPage(&page, cmd)
	path := filepath.Join(folder, pageName(cmd)+".1")
	if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil { //nolint:gosec // everybody may read a manual
		return fmt.Errorf("write a manual page: %w", err)
	}
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			continue
		}
		if err := writePages(sub, folder); err != nil {
			return err
		}
	}
	return nil
}

// pageName returns "gerritstream-queue-read".
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// printPage writes a manual page in the macros of man(7). It has no date, so
// that two builds of a version have the same page.
func printPage(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, ".TH %s 1 \"\" %q \"gerritstream\"\n.nh\n", strings.ToUpper(roff(pageName(cmd))),
		"gerritstream "+readBuild().Version)
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", roff(pageName(cmd)), roff(cmd.Short))
	fmt.Fprintf(w, ".SH SYNOPSIS\n.nf\n%s\n.fi\n", roffLine(cmd.UseLine()))
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "%s\n", roffLine(cmd.CommandPath()+" COMMAND"))
	}
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	fmt.Fprint(w, ".SH DESCRIPTION\n")
	printText(w, long)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprint(w, ".SH COMMANDS\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(sub.Name()), roffLine(sub.Short))
			}
		}
	}
	printFlags(w, cmd)
	if cmd.HasExample() {
		fmt.Fprint(w, ".SH EXAMPLES\n")
		printText(w, cmd.Example)
	}
	fmt.Fprint(w, ".SH SEE ALSO\n")
	var others []string
	if cmd.HasParent() {
		others = append(others, pageName(cmd.Parent()))
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			others = append(others, pageName(sub))
		}
	}
	for i, name := range others {
		comma := ","
		if i == len(others)-1 {
			comma = ""
		}
		fmt.Fprintf(w, ".BR %s (1)%s\n", roff(name), comma)
	}
}

func printFlags(w io.Writer, cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	fmt.Fprint(w, ".SH OPTIONS\n")
	flags := func(set *pflag.FlagSet) {
		set.VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Deprecated != "" {
				return
			}
			around, value, about := flagParts(f)
			name := "\\fB" + roff("--"+f.Name) + "\\fR"
			if f.Shorthand != "" {
				name = "\\fB" + roff("-"+f.Shorthand) + "\\fR, " + name
			}
			if value != "" {
				name += around[0] + "\\fI" + roff(value) + "\\fR" + around[1]
			}
			fmt.Fprintf(w, ".TP\n%s\n%s\n", name, roffLine(about))
		})
	}
	flags(cmd.NonInheritedFlags())
	flags(cmd.InheritedFlags())
}

// indented is a line of a help text that keeps its place: an example, a table.
var indented = regexp.MustCompile(`^(?: {2,}|\t)\S`)

// printText writes a help text: paragraphs, and indented blocks, which keep
// their lines.
func printText(w io.Writer, text string) {
	verbatim, paragraph := false, "" // of the section's first
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		keep := indented.MatchString(line)
		switch {
		case strings.TrimSpace(line) == "":
			if paragraph = ".PP\n"; verbatim {
				paragraph = ".sp\n"
			}
			continue
		case keep && !verbatim:
			fmt.Fprint(w, strings.Replace(paragraph, ".PP", ".sp", 1), ".RS 4\n.nf\n")
		case !keep && verbatim:
			fmt.Fprint(w, ".fi\n.RE\n.PP\n")
		default:
			fmt.Fprint(w, paragraph)
		}
		verbatim, paragraph = keep, ""
		if keep {
			line = strings.TrimPrefix(strings.TrimPrefix(line, "\t"), "  ")
		}
		fmt.Fprintln(w, roffLine(line))
	}
	if verbatim {
		fmt.Fprint(w, ".fi\n.RE\n")
	}
}

var roffEscapes = strings.NewReplacer(`\`, `\e`, `-`, `\-`, "`", `\(ga`,
	`'`, `\(aq`, `"`, `\(dq`, `^`, `\(ha`, `~`, `\(ti`)

// roff returns a text as roff shows it unchanged.
func roff(text string) string { return roffEscapes.Replace(text) }

// roffLine returns a line of text: one that starts with a dot is no request.
func roffLine(line string) string {
	line = roff(line)
	if strings.HasPrefix(line, ".") {
		line = `\&` + line
	}
	return line
}
