package sqlite_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream"
)

// What docs/consumers.md shows for a program in Python hands on every event,
// those appended for it among them, goes on where it was, and keeps its place
// where retention sees it.
func TestDocumentedConsumer(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is missing: apt-get install python3")
	}
	page, err := os.ReadFile("../docs/consumers.md")
	must(t, err)
	found := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(page)
	if found == nil {
		t.Fatal("there is no example")
	}
	s := newShared(t)
	store := s.open()
	term := elect(t, store, shardA)
	commit := func(seqs ...string) {
		c := commitOf(gerritstream.SequenceNumber(seqs[0]))
		for _, seq := range seqs {
			c.Entries = append(c.Entries, entry(shardA, gerritstream.SequenceNumber(seq), 10))
		}
		must(t, term.Commit(t.Context(), c))
	}
	// It ends in the midst of handling the event that it has not so many more
	// of.
	run := func(most string) string {
		cmd := exec.CommandContext(t.Context(), python, "-c", string(found[1])+`
import sys
left = int(sys.argv[2])
def handle(n, id, type, payload):
    global left
    if left == 0:
        raise SystemExit
    left -= 1
    print(n, id)
consume(sys.argv[1], "py", handle)
`, s.path, most)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		must(t, err)
		return strings.TrimSpace(string(out))
	}
	commit("1", "2", "3")
	first := run("2")
	if strings.Count(first, "\n") != 1 {
		t.Fatalf("it handled\n%s\nwant two events", first)
	}
	if again := run("2"); again != first { // the page was not handled to its end
		t.Errorf("what was not acknowledged came as\n%s\nwant\n%s", again, first)
	}
	s.exec(`UPDATE consumers SET n = 2`)
	_, err = store.Append(t.Context(), "py", []gerritstream.Entry{entry(shardA, "1", 10)})
	must(t, err)
	commit("4", "5")
	id := entry(shardA, "1", 10).ID.String()
	if rest := run("3"); !strings.HasPrefix(rest, "3 ") || !strings.Contains(rest, "\n4 "+id+"\n5 ") {
		t.Errorf("the rest came as\n%s", rest)
	}
	infos, err := store.Consumers(t.Context())
	must(t, err)
	if len(infos) != 1 || infos[0].Name != "py" || infos[0].Pending != 4 {
		t.Errorf("the consumers are %+v, want one for which four events wait", infos)
	}
}
