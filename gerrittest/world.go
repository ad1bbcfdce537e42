package gerrittest

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// world is the made-up server: its people, projects and open changes, as far as
// events show them.
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

// maxOpen is how many changes are open at once; older ones are forgotten.
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

// sha returns a made-up revision.
func (w *world) sha() string {
	return fmt.Sprintf("%016x%016x%08x", w.rng.Uint64(), w.rng.Uint64(), w.rng.Uint32())
}

func (w *world) person() object { return pick(w.rng, people) }

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

// Everything here is fictional. example.com is nobody's by RFC 2606.
var (
	projects = []string{
		"example/widgets", "example/gadgets", "example/gizmos", "example/docs", "example/infra/deploy", "example/infra/images",
		"example/lib/sprockets", "example/lib/cogs", "example/lib/q&a", "example/apps/orrery", "example/apps/abacus", "example/sandbox",
	}
	branches = []string{"main", "main", "main", "main", "stable/2026.1", "stable/2025.2", "feature/cog-wheels"}
	people   = []object{
		person("Ada Example", "ada.example"), person("Ben GroupState", "ben.muster"), person("Zoë Beispiel", "zoe.beispiel"),
		person("Chiara d'Esempio", "chiara.desempio"), person("Иван Примеров", "ivan.primerov"), person("例 太郎", "taro.rei"),
		person("Max Mustermann", "max.mustermann"), person("Fulana de Tal", "fulana.detal"),
	}
	robots = []object{
		person("Fictional CI", "fictional-ci").with("tags", []string{"SERVICE_USER"}),
		person("Imaginary Gate", "imaginary-gate").with("tags", []string{"SERVICE_USER"}),
	}
	words = []string{
		"queue", "widget", "order", "retry", "sort", "cache", "timeout", "index", "shard", "merge", "review", "builder", "config",
		"schema", "parser", "token", "when", "the", "a", "of", "to", "for", "without", "jobs", "state", "lock", "names", "path",
		"rework", "remove", "keep", "wait", "i<j", "a=b", "it's", "x->y", "\"quoted\"", "R&D", "naïve", "→", "😀",
	}
	files = []string{
		"/COMMIT_MSG", "queue/order.go", "queue/order_test.go", "doc/queue.rst", "lib/cogs/wheel.c", "lib/cogs/wheel.h", "Makefile",
		"images/base/Dockerfile", "web/src/components/review-panel.ts", "tests/integration/test_order_of_arrival.py",
	}
)

func person(name, user string) object {
	return object{{"name", name}, {"email", user + "@example.com"}, {"username", user}}
}
