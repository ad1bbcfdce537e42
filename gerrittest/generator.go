package gerrittest

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// Want is the verdict that a record must get, with the default filter for Zuul.
type Want string

// The verdicts.
const (
	Queued     Want = "queued"
	Filtered   Want = "filtered"
	DeadLetter Want = "dead letter"
)

// Record is one record as a producer puts it into the stream. The caller owns
// its bytes.
type Record struct {
	Key  string // partition key
	Data []byte
	Type string // of the event; of a bad record: the type that it has, or would have
	Want Want
	Why  string // the rule that drops it (gerrit.Rules) or the reason to refuse it (gerrit.Reasons)
}

// Options shape the traffic. The zero value is useful.
type Options struct {
	// SpreadKeys derives partition keys from project and change. By default the
	// key is the event's type, as with Gerrit's plugin, and two thirds of a
	// stream go to one shard.
	SpreadKeys bool

	// Within is the number of records within which every type and every kind of
	// bad record comes; 0: 2,000. Less than MinWithin counts as MinWithin.
	Within int

	// BadEvery is the number of records of which one is bad, after the first
	// Within; 0: 400, negative: no record is bad.
	BadEvery int

	// Clock sets eventCreatedOn. nil: a clock that begins with the year 2026
	// and advances by a second or so an action.
	Clock func() time.Time

	// InstanceID is the server's name in every event. Empty: absent, as with a
	// single server.
	InstanceID string
}

// MinWithin is the least Options.Within.
const MinWithin = 250

// Generator generates records. It is for one goroutine.
type Generator struct {
	world   *world
	rng     *rand.Rand
	within  int
	every   int      // records from one bad one to the next, on average; negative: none
	made    int      // records returned so far
	nextBad int      // the number of the record at which the next bad one is due
	due     []scene  // what must come among the first records, in a random order
	dueDone int      // how many of due have come
	pending []Record // of the current scene
}

// New returns a generator.
func New(seed uint64, o Options) *Generator {
	rng := rand.New(rand.NewPCG(seed, 0x6765727269747374))
	g := &Generator{
		world:  newWorld(rng, o),
		rng:    rng,
		within: max(cmp.Or(o.Within, 2000), MinWithin),
		every:  cmp.Or(o.BadEvery, 400),
	}
	for _, w := range scenes {
		g.due = append(g.due, w.scene)
	}
	if g.every > 0 {
		g.due = append(g.due, badScenes...)
	}
	rng.Shuffle(len(g.due), func(i, j int) { g.due[i], g.due[j] = g.due[j], g.due[i] })
	g.nextBad = g.within
	return g
}

// Next returns the next record; there is always one.
func (g *Generator) Next() Record {
	for len(g.pending) == 0 {
		g.pending = g.nextScene()(g.world)
	}
	r := g.pending[0]
	g.pending = g.pending[1:]
	g.made++
	return r
}

// nextScene returns a scene that is due early, else a bad one if that is due,
// else one by weight.
func (g *Generator) nextScene() scene {
	each := g.within / (len(g.due) + 2)
	if g.dueDone < len(g.due) && g.made >= each*g.dueDone {
		g.dueDone++
		return g.due[g.dueDone-1]
	}
	if g.every > 0 && g.made >= g.nextBad {
		g.nextBad = g.made + 1 + g.rng.IntN(2*g.every)
		return badScenes[g.rng.IntN(len(badScenes))]
	}
	sum := 0
	for _, w := range scenes {
		sum += w.weight
	}
	n := g.rng.IntN(sum)
	for _, w := range scenes {
		if n -= w.weight; n < 0 {
			return w.scene
		}
	}
	return scenes[0].scene
}
