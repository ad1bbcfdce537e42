package gerrittest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// world is the fictional server: its people, projects and open changes, as far
// as events show them.
type world struct {
	rng        *rand.Rand
	spread     bool
	instanceID string
	clock      func() time.Time
	changes    []*change
	lastNumber int
	projects   int // made beyond the first ones
	batches    int // of refs, so far
}

// change is an open change.
type change struct {
	number   int
	patchSet int
	project  string
	branch   string
	id       string
	subject  string
	owner    object
	revision string
	topic    string
	created  int64
}

// maxOpen bounds the open changes; the oldest are forgotten.
const maxOpen = 200

func newWorld(rng *rand.Rand, o Options) *world {
	w := &world{rng: rng, spread: o.SpreadKeys, instanceID: o.InstanceID, clock: o.Clock, lastNumber: 40000}
	if w.clock == nil {
		now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
		w.clock = func() time.Time {
			now = now.Add(time.Duration(rng.IntN(2000)) * time.Millisecond)
			return now
		}
	}
	for range 40 {
		w.newChange()
	}
	return w
}

func (w *world) newChange() *change {
	w.lastNumber += 1 + w.rng.IntN(3)
	c := &change{
		number:  w.lastNumber,
		project: pick(w.rng, projects),
		branch:  pick(w.rng, branches),
		id:      "I" + w.sha(),
		subject: w.sentence(4 + w.rng.IntN(6)),
		owner:   w.person(),
		created: w.clock().Unix(),
	}
	if w.rng.IntN(3) == 0 {
		c.topic = pick(w.rng, words) + "-" + pick(w.rng, words)
	}
	c.upload(w)
	if len(w.changes) == maxOpen {
		w.changes = w.changes[1:]
	}
	w.changes = append(w.changes, c)
	return c
}

// upload makes another patch set.
func (c *change) upload(w *world) {
	c.patchSet++
	c.revision = w.sha()
}

// change returns an open change.
func (w *world) change() *change { return pick(w.rng, w.changes) }

// sha returns a random revision.
func (w *world) sha() string {
	return fmt.Sprintf("%016x%016x%08x", w.rng.Uint64(), w.rng.Uint64(), w.rng.Uint32())
}

func (w *world) person() object { return pick(w.rng, people) }

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

// Everything here is fictional; RFC 2606 reserves example.com.
var (
	projects = []string{
		"example/widgets", "example/gadgets", "example/gizmos", "example/docs", "example/infra/deploy",
		"example/infra/images", "example/lib/sprockets", "example/lib/cogs", "example/lib/q&a", "example/apps/orrery",
		"example/apps/abacus", "example/sandbox",
	}
	branches = []string{"main", "main", "main", "main", "stable/2026.1", "stable/2025.2", "feature/cog-wheels"}
	people   = []object{
		person("Ada Example", "ada.example"), person("Ben Sample", "ben.sample"),
		person("Zoë Beispiel", "zoe.beispiel"), person("Chiara d'Esempio", "chiara.desempio"),
		person("Иван Примеров", "ivan.primerov"), person("例 太郎", "taro.rei"),
		person("Max Mustermann", "max.mustermann"), person("Fulana de Tal", "fulana.detal"),
	}
	robots = []object{
		person("Fictional CI", "fictional-ci").with("tags", []string{"SERVICE_USER"}),
		person("Imaginary Gate", "imaginary-gate").with("tags", []string{"SERVICE_USER"}),
	}
	words = strings.Fields(`queue widget order retry sort cache timeout index shard merge review builder config schema
		parser token when the a of to for without jobs state lock names path rework remove keep wait i<j a=b it's x->y
		"quoted" R&D naïve → 😀`)
	files = strings.Fields(`/COMMIT_MSG queue/order.go queue/order_test.go doc/queue.rst lib/cogs/wheel.c
		lib/cogs/wheel.h Makefile images/base/Dockerfile web/src/components/review-panel.ts
		tests/integration/test_order_of_arrival.py`)
)

func person(name, user string) object {
	return object{{"name", name}, {"email", user + "@example.com"}, {"username", user}}
}

// sentence returns n words.
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

// maxComment is the length of the longest comment that Gerrit accepts.
const maxComment = 16 << 10

// comment returns what a reviewer writes: mostly a few lines, rarely pages.
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

// clip truncates a string between characters.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
