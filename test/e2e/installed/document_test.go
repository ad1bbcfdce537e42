//go:build installed

package installed

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// chapter is a section of a page that people follow from top to bottom.
type chapter struct {
	title string
	steps []step
	shown []string // output that belongs to no command
}

// step is a file to write, or a command to run.
type step struct {
	file, text string   // of a file
	command    string   // of a command
	printed    []string // what it prints, as far as the page shows it
}

// page returns a page of the documents.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// chapters returns the sections below a heading. In these, an indented block is
// a file if it begins with the file's path as a comment, and otherwise one
// command a line; a fenced block is what the command right before it prints.
func chapters(t *testing.T, text, heading string) (all []chapter) {
	t.Helper()
	_, text, found := strings.Cut(text, "\n## "+heading+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	if !found {
		t.Fatalf("there is no section %q", heading)
	}
	for _, part := range strings.Split(text, "\n### ")[1:] {
		title, body, _ := strings.Cut(part, "\n")
		c := chapter{title: title}
		c.read(body)
		all = append(all, c)
	}
	return all
}

var firstLineOfFile = regexp.MustCompile(`^    # (/\S+)\n`)

// read reads the blocks of a chapter, which blank lines part.
func (c *chapter) read(body string) {
	command := false // the last block ended with one
	for block := range strings.SplitSeq(joinFences(body), "\n\n") {
		block = strings.Trim(block, "\n") + "\n"
		fenced, isOutput := strings.CutPrefix(block, "```text\n")
		switch file := firstLineOfFile.FindStringSubmatch(block); {
		case isOutput:
			lines := strings.Split(strings.TrimSuffix(fenced, "```\n"), "\n")
			if command {
				c.steps[len(c.steps)-1].printed = lines
			} else {
				c.shown = append(c.shown, lines...)
			}
			command = false
		case file != nil:
			text := strings.ReplaceAll(block[len(file[0]):], "\n    ", "\n")
			c.steps = append(c.steps, step{file: file[1], text: strings.TrimPrefix(text, "    ")})
			command = false
		case strings.HasPrefix(block, "    "):
			for line := range strings.Lines(strings.ReplaceAll(block, "\\\n", "")) {
				c.steps = append(c.steps, step{command: strings.Join(strings.Fields(line), " ")})
			}
			command = true
		default:
			command = false
		}
	}
}

// joinFences takes the blank lines out of fenced blocks.
func joinFences(body string) string {
	return regexp.MustCompile("(?s)```text\n.*?\n```\n").ReplaceAllStringFunc(body, func(block string) string {
		return strings.ReplaceAll(block, "\n\n", "\n")
	})
}

// shows returns the first line that a page shows and an output has not, after
// those before it; "": none. In the page "..." stands for anything, any number
// for any other, and any space for any other.
func shows(printed []string, output string) string {
	lines := strings.Split(output, "\n")
	for _, want := range printed {
		if strings.TrimSpace(want) == "" {
			continue
		}
		pattern := asPattern(want)
		for len(lines) > 0 && !pattern.MatchString(lines[0]) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			return want
		}
		lines = lines[1:]
	}
	return ""
}

// numbers are those of a pattern, with the points and commas in them.
var numbers = regexp.MustCompile(`\d+((\\.|,)?\d+)*`)

func asPattern(line string) *regexp.Regexp {
	text := regexp.QuoteMeta(strings.Join(strings.Fields(line), " "))
	text = strings.ReplaceAll(text, `\.\.\.`, `.*`)
	text = numbers.ReplaceAllLiteralString(text, `\d[\d,.]*`)
	return regexp.MustCompile(`^\s*` + strings.ReplaceAll(text, " ", `\s+`) + `\s*$`)
}
