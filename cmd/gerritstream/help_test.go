package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelpFitsATerminal: of every command.
func TestHelpFitsATerminal(t *testing.T) {
	root := newRoot(process{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard})
	root.InitDefaultCompletionCmd()
	count := 0
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		count++
		cmd.InitDefaultHelpFlag()
		text := helpText(cmd)
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); len([]rune(line)) > helpColumns {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), len([]rune(line)), line)
			}
		}
		for _, want := range []string{"\nUsage:\n  gerritstream", "\nFlags:\n", "--help "} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", cmd.CommandPath(), want, text)
			}
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(root)
	if count < 30 {
		t.Errorf("%d commands", count)
	}
}

func TestReflow(t *testing.T) {
	const text = `Words that are joined
to a line, however they were wrapped before, and wrapped again.

  term      what it means, in many words that do not fit into
            one line
  longer    short

    verbatim: an indented line
end`
	const want = `Words that are joined to a line, however they were wrapped before, and wrapped
again.

  term      what it means, in many words that do not fit into one line
  longer    short

    verbatim: an indented line
end
`
	if got := reflow(text); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestExamplesAreBrokenWhereAShellAllowsIt: before a flag or a pipe, and not
// within quotes.
func TestExamplesAreBrokenWhereAShellAllowsIt(t *testing.T) {
	const short = "  gerritstream tail --since -1h"
	if got := brokenCommand(short); got != short {
		t.Errorf("got %q", got)
	}
	const long = "  gerritstream tail --format '{{.At}} {{.Project}} {{.Ref}} {{.ID}} --type {{.Type}}' --stop"
	const want = "  gerritstream tail \\\n" +
		"      --format '{{.At}} {{.Project}} {{.Ref}} {{.ID}} --type {{.Type}}' --stop"
	if got := brokenCommand(long); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := strings.Join(strings.Fields(strings.ReplaceAll(brokenCommand(long), "\\\n", "")), " "); got !=
		strings.TrimSpace(long) {
		t.Errorf("the shell sees %q", got)
	}
	words := "  echo " + strings.Repeat("x", 90)
	if got := brokenCommand(words); got != words {
		t.Errorf("got %q", got)
	}
}

func TestUnknownFlag(t *testing.T) {
	cmd := newRun(process{})
	for given, want := range map[string]string{
		"unknown flag: --strem":        "unknown flag: --strem; did you mean --stream?",
		"unknown flag: --log-leve":     "unknown flag: --log-leve; did you mean --log-level?",
		"unknown flag: --xyzzy":        "unknown flag: --xyzzy",
		"flag needs an argument: --to": "flag needs an argument: --to",
	} {
		err := errors.New(given)
		got := unknownFlag(cmd, err)
		if got.Error() != want || !errors.Is(got, err) {
			t.Errorf("%s: got %v", given, got)
		}
	}
}
