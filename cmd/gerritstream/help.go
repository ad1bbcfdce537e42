package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gerritstream/gerritstream/internal/near"
)

const (
	// helpColumns is the width that help keeps to.
	helpColumns = 80

	// flagColumn is where the text about a flag begins. A longer flag has a
	// line of its own.
	flagColumn = 28

	// groupOf annotates a flag with the heading that it stands under in help.
	groupOf = "gerritstream_group"
)

// showHelp writes the help of a command. A failed write shows nowhere: cobra
// has no place for the error.
func showHelp(cmd *cobra.Command, _ []string) {
	_, _ = io.WriteString(cmd.OutOrStdout(), helpText(cmd))
}

// helpText returns the help of a command, with its flags in groups.
func helpText(cmd *cobra.Command) string {
	var b strings.Builder
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	b.WriteString(reflow(text) + "\nUsage:\n")
	if cmd.Runnable() && !cmd.HasAvailableSubCommands() {
		b.WriteString(wrapped("  ", 6, cmd.UseLine()))
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s [command]\n", cmd.CommandPath())
	}
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, "\nAliases:\n  %s\n", cmd.NameAndAliases())
	}
	if cmd.Example != "" {
		b.WriteString("\nExamples:\n")
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			b.WriteString(brokenCommand(line) + "\n")
		}
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				b.WriteString(wrapped(fmt.Sprintf("  %-12s", sub.Name()), 14, sub.Short))
			}
		}
	}
	writeFlags(&b, cmd)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n\"%s [command] --help\" says more about a command.\n", cmd.CommandPath())
	}
	return b.String()
}

// writeFlags writes the flags of a command: its own ones first, then the groups
// of settings in the order in which they were made.
func writeFlags(b *strings.Builder, cmd *cobra.Command) {
	const own = "Flags"
	groups, order := map[string][]*pflag.Flag{}, []string{own}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		group := own
		if g := f.Annotations[groupOf]; len(g) > 0 {
			group = g[0]
		}
		if !f.Hidden {
			groups[group] = append(groups[group], f)
		}
		if !slices.Contains(order, group) {
			order = append(order, group)
		}
	})
	for _, group := range order {
		if len(groups[group]) > 0 {
			fmt.Fprintf(b, "\n%s:\n", group)
		}
		for _, f := range groups[group] {
			b.WriteString(flagText(f))
		}
	}
}

// flagText returns the lines about a flag.
func flagText(f *pflag.Flag) string {
	around, value, about := flagParts(f)
	name := "      --" + f.Name
	if f.Shorthand != "" {
		name = "  -" + f.Shorthand + ", --" + f.Name
	}
	name += around[0] + value + around[1]
	if len(name)+2 > flagColumn {
		return name + "\n" + wrapped(strings.Repeat(" ", flagColumn), flagColumn, about)
	}
	return wrapped(fmt.Sprintf("%-*s", flagColumn, name), flagColumn, about)
}

// flagParts returns what stands around a flag's value, what the value is
// called, and what the flag is about, with its default. A value that may be
// left out stands in brackets.
func flagParts(f *pflag.Flag) (around [2]string, value, about string) {
	value, about = pflag.UnquoteUsage(f)
	switch {
	case value != "" && f.NoOptDefVal != "":
		around = [2]string{"[=", "]"}
	case value != "":
		around[0] = " "
	}
	if !slices.Contains([]string{"", "0", "0s", "false", "[]"}, f.DefValue) && !strings.Contains(about, "(default") {
		about += " (default " + f.DefValue + ")"
	}
	return around, value, about
}

// listItem is a line of a list: a term, a gap and what it means.
var listItem = regexp.MustCompile(`^(\s+\S(?:.*?\S)?\s{2,})(\S.*)$`)

// reflow wraps a text. Lines that are indented keep their indent, those of a
// list the one of what the term means.
func reflow(text string) string {
	var b strings.Builder
	var prefix, pending string
	flush := func() {
		if pending != "" {
			b.WriteString(wrapped(prefix, len([]rune(prefix)), pending))
		}
		prefix, pending = "", ""
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		switch item := listItem.FindStringSubmatch(line); {
		case strings.TrimSpace(line) == "":
			flush()
			b.WriteString("\n")
		case pending != "" && indent == len(prefix): // it goes on
			pending += " " + strings.TrimSpace(line)
		case item != nil:
			flush()
			prefix, pending = item[1], item[2]
		default:
			flush()
			prefix, pending = line[:indent], line[indent:]
		}
	}
	flush()
	return b.String()
}

// wrapped returns a text in lines: the first begins with prefix, the others
// with indent spaces.
func wrapped(prefix string, indent int, text string) string {
	var b strings.Builder
	b.WriteString(prefix)
	column, begun := len([]rune(prefix)), false
	for word := range strings.FieldsSeq(text) {
		length := len([]rune(word))
		switch {
		case begun && column+1+length > helpColumns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		case begun:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column, begun = column+length, true
	}
	return strings.TrimRight(b.String(), " ") + "\n"
}

// brokenCommand breaks a command line before a flag or a pipe, as a shell
// takes it.
func brokenCommand(line string) string {
	const goesOn = ` \`
	var b strings.Builder
	for len([]rune(line)) > helpColumns {
		at, quoted := 0, false
		for i := range line {
			rest := line[i:]
			switch {
			case i > helpColumns-len(goesOn):
			case line[i] == '\'':
				quoted = !quoted
			case !quoted && i > 8 && (strings.HasPrefix(rest, " --") || strings.HasPrefix(rest, " | ")):
				at = i
			}
		}
		if at == 0 {
			break
		}
		b.WriteString(line[:at] + goesOn + "\n")
		line = "      " + line[at+1:]
	}
	return b.String() + line
}

// unknownFlag adds to an error about a flag which one may have been meant.
func unknownFlag(cmd *cobra.Command, err error) error {
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if meant := near.Nearest(name, names); meant != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, meant)
	}
	return err
}
