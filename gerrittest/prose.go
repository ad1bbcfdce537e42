package gerrittest

import (
	"fmt"
	"strings"
)

// sentence returns so many words.
func (w *world) sentence(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(pick(w.rng, words))
	}
	return b.String()
}

// commitMessage returns a message with a change's subject and footer.
func (w *world) commitMessage(c *change) string {
	var b strings.Builder
	b.WriteString(c.subject + "\n\n")
	for range 1 + w.rng.IntN(4) {
		b.WriteString(w.sentence(10) + ".\n")
	}
	fmt.Fprintf(&b, "\nChange-Id: %s\n", c.id)
	return b.String()
}

// maxComment is the longest comment that Gerrit takes: 16 KiB.
const maxComment = 16 << 10

// comment returns what a reviewer writes: mostly a line or some, rarely pages.
func (w *world) comment(c *change) string {
	lines := 1 + w.rng.IntN(8)
	if w.rng.IntN(60) == 0 {
		lines = 300
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Patch Set %d:\n\n", c.patchSet)
	for range lines {
		b.WriteString(w.sentence(4+w.rng.IntN(12)) + "\n")
	}
	return clip(b.String(), maxComment)
}

// buildReport returns what a robot writes.
func (w *world) buildReport(c *change) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Patch Set %d: Verified+1\n\nBuild succeeded (check pipeline).\n\n", c.patchSet)
	for i := range 2 + w.rng.IntN(10) {
		fmt.Fprintf(&b, "- unit-%d https://ci.example.com/t/example/build/%016x?a=1&b=2 : SUCCESS in %dm %02ds\n",
			i, w.rng.Uint64(), w.rng.IntN(60), w.rng.IntN(60))
	}
	return b.String()
}

// clip cuts a string between characters.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
