package plan

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	gs "github.com/gerritstream/gerritstream"
)

// simGroup is a model of processes that each do as planned, from what they saw
// last.
type simGroup struct {
	shards     []gs.ShardID
	members    map[string]*simMember // by id
	candidates map[gs.ShardID][]string
	moves      int // leaderships that were handed off
	joined     int
}

type simMember struct {
	readable bool
	view     gs.GroupState // what it saw last; without Self: nothing yet
}

func newSimGroup(shards int) *simGroup {
	c := &simGroup{members: map[string]*simMember{}, candidates: map[gs.ShardID][]string{}}
	for i := range shards {
		c.shards = append(c.shards, gs.ShardID(fmt.Sprintf("s%02d", i)))
	}
	return c
}

func (c *simGroup) ids() []string { return slices.Sorted(maps.Keys(c.members)) }

// join adds a process. Its ID is before or after those of the others, by
// chance.
func (c *simGroup) join(chance int) {
	c.joined++
	c.members[fmt.Sprintf("%d-%d", chance%10, c.joined)] = &simMember{readable: true}
}

// kill ends a process: those after it move up.
func (c *simGroup) kill(id string) {
	delete(c.members, id)
	for _, shard := range c.shards {
		c.leave(shard, id)
	}
}

func (c *simGroup) leave(shard gs.ShardID, id string) {
	c.candidates[shard] = slices.DeleteFunc(c.candidates[shard], func(o string) bool { return o == id })
}

// state is the group as it is.
func (c *simGroup) state(self string) gs.GroupState {
	m := gs.GroupState{Self: self, Candidates: map[gs.ShardID][]gs.Candidate{}}
	for _, id := range c.ids() {
		m.Members = append(m.Members, gs.Member{ID: id, Info: gs.MemberInfo{Readable: c.members[id].readable}})
	}
	for _, shard := range c.shards {
		for _, id := range c.candidates[shard] {
			m.Candidates[shard] = append(m.Candidates[shard], gs.Candidate{Member: id})
		}
	}
	return m
}

func (c *simGroup) look(id string) { c.members[id].view = c.state(id) }

// act has a process do what follows from what it saw last, and reports whether
// that was anything.
func (c *simGroup) act(id string) (changed bool) {
	view := c.members[id].view
	if view.Self == "" {
		return false
	}
	o := Assign(c.shards, view).Actions(c.shards, view)
	for _, shard := range c.shards {
		candidates := c.candidates[shard]
		at := slices.Index(candidates, id)
		switch campaigns := slices.Contains(o.Campaign, shard); {
		case campaigns && at < 0:
			c.candidates[shard] = append(candidates, id)
			changed = true
		case !campaigns && at > 0:
			c.leave(shard, id)
			changed = true
		case at == 0 && slices.Contains(o.HandOff, shard):
			c.leave(shard, id)
			c.moves++
			changed = true
		}
	}
	return changed
}

// converge has everybody look and act in turn, in an order of chance, until
// nobody has anything to do.
func (c *simGroup) converge(t *rapid.T) {
	for range 8 {
		changed := false
		for _, id := range rapid.Permutation(c.ids()).Draw(t, "order") {
			c.look(id)
			changed = c.act(id) || changed
		}
		if !changed {
			return
		}
	}
	t.Fatalf("no end of moving: %v", c.candidates)
}

// check: everything is led by eligible members, as evenly as can be.
func (c *simGroup) check(t *rapid.T) {
	m := c.state("")
	checkAssign(t, c.shards, m)
	for shard, owner := range Assign(c.shards, m).Owner {
		if candidates := c.candidates[shard]; len(candidates) != 1 || candidates[0] != owner {
			t.Fatalf("%s is planned for %s, its candidates are %v", shard, owner, candidates)
		}
	}
}

// needed is how many shards must move now, by all members together.
func (c *simGroup) needed() int {
	m := c.state("")
	ids := eligible(m)
	if len(ids) == 0 {
		return 0
	}
	held, away := map[string]int{}, 0
	for _, shard := range c.shards {
		if head := leaderOf(m.Candidates[shard]); slices.Contains(ids, head) {
			held[head]++
		} else if head != "" {
			away++ // led by one that cannot read
		}
	}
	return away + fewestMoves(held, ids, len(c.shards))
}

// event has something happen to the group.
func (c *simGroup) event(t *rapid.T) string {
	ids := c.ids()
	kind := rapid.IntRange(0, 3).Draw(t, "event")
	if len(ids) == 0 || kind == 0 && len(ids) < 7 {
		c.join(rapid.IntRange(0, 9).Draw(t, "before whom"))
		return "join"
	}
	id := rapid.SampledFrom(ids).Draw(t, "who")
	if kind == 1 {
		c.kill(id)
		return "kill"
	}
	c.members[id].readable = !c.members[id].readable
	return "readable or not"
}

// Whatever the processes saw, however old that is, and in whatever order they
// act: once each has looked again a few times, all is balanced, and stays so.
func TestAssignConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newSimGroup(rapid.IntRange(0, 20).Draw(t, "shards"))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			ids := c.ids()
			switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
			case step == 0 || len(ids) == 0:
				c.event(t)
			case step < 5:
				c.look(rapid.SampledFrom(ids).Draw(t, "looks"))
			default:
				c.act(rapid.SampledFrom(ids).Draw(t, "acts"))
			}
		}
		if len(c.members) == 0 {
			c.join(0)
		}
		c.converge(t)
		c.check(t)
	})
}

// Over hours of joins, ends and processes that can or cannot read, each event
// moves what it must and no more.
func TestAssignDoesNotThrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newSimGroup(32)
		for range 25 {
			what := c.event(t)
			if len(c.members) == 0 {
				continue
			}
			needed, before := c.needed(), c.moves
			c.converge(t)
			c.check(t)
			if moves := c.moves - before; moves > needed {
				t.Fatalf("%s: %d moves, %d are enough", what, moves, needed)
			}
		}
	})
}

// The same when each acts on what it saw a while ago: what is out of date costs
// some moves, within a bound, and none once it is balanced.
func TestAssignDoesNotThrashOnStaleViews(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newSimGroup(32)
		for range 20 {
			what := c.event(t)
			if len(c.members) == 0 {
				continue
			}
			needed, before := c.needed(), c.moves
			for range 3 { // look at different moments, then act in another order
				for _, id := range rapid.Permutation(c.ids()).Draw(t, "looking") {
					c.look(id)
					if rapid.Bool().Draw(t, "acts at once") {
						c.act(id)
					}
				}
				for _, id := range rapid.Permutation(c.ids()).Draw(t, "acting") {
					c.act(id)
				}
			}
			c.converge(t)
			c.check(t)
			if moves := c.moves - before; moves > needed+2*len(c.members) {
				t.Fatalf("%s: %d moves, %d are enough", what, moves, needed)
			}
		}
	})
}
