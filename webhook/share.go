package webhook

import (
	"context"
	"hash/fnv"
	"slices"
	"time"
)

// A member that a hook is not planned for takes it nevertheless once nobody has
// delivered for it this long, times its rank: the member that it is planned for
// may not have the hook in its settings, or may be stuck.
const standbyStep = 10 * time.Second

// handOverAfter is how many looks in a row must find that the hook is another
// member's before it is handed over.
const handOverAfter = 5

// ranking returns the members in the order in which they are to deliver for a
// hook. The first ones of all hooks are spread evenly: none is first for more
// hooks than others need be. Who comes or goes moves few of them. It is a
// function of the two sets alone, so that all members agree.
func ranking(hooks, members []string, hook string) []string {
	hooks, members = slices.Sorted(slices.Values(hooks)), slices.Sorted(slices.Values(members))
	hooks, members = slices.Compact(hooks), slices.Compact(members)
	if len(members) == 0 {
		return nil
	}
	most := (len(hooks) + len(members) - 1) / len(members)
	firsts := map[string]int{}
	for _, h := range hooks {
		byWeight := slices.SortedStableFunc(slices.Values(members), func(a, b string) int {
			return compareWeights(weight(h, a), weight(h, b))
		})
		i := slices.IndexFunc(byWeight, func(m string) bool { return firsts[m] < most })
		firsts[byWeight[i]]++
		if h == hook {
			first := byWeight[i]
			return append([]string{first}, slices.Delete(byWeight, i, i+1)...)
		}
	}
	return members
}

func compareWeights(a, b uint64) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

// weight is the weight of a member for a hook (rendezvous hashing).
func weight(hook, member string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(member + "\x00" + hook)) // it never fails
	sum := h.Sum64()
	sum ^= sum >> 33 // FNV's last bytes barely reach its high bits
	sum *= 0xff51afd7ed558ccd
	return sum ^ sum>>33
}

// rank returns the member that the hook is planned for, and this one's rank.
// With members unknown this one is the first.
func (d *Dispatcher) rank(ctx context.Context) (owner string, rank int) {
	if d.config.Members == nil {
		return d.config.Self, 0
	}
	members, err := d.config.Members(ctx)
	if err != nil {
		d.log.Debug("webhook cannot list the members", "err", err)
		return d.config.Self, 0
	}
	all := ranking(d.config.Hooks, members, d.hook.Name)
	i := slices.Index(all, d.config.Self)
	if i < 0 {
		return d.config.Self, 0 // not a member yet
	}
	return all[0], i
}

// awaitTurn waits until this process may compete for the hook. mine: it is
// planned for it.
func (d *Dispatcher) awaitTurn(ctx context.Context) (mine bool, err error) {
	var free time.Time // nobody has delivered since
	for {
		owner, rank := d.rank(ctx)
		if rank == 0 {
			return true, nil
		}
		reader, err := d.config.Store.Reader(ctx, d.consumer)
		switch {
		case err != nil:
			return false, err
		case reader != "":
			free = time.Time{}
		case free.IsZero():
			free = time.Now()
		case time.Since(free) >= time.Duration(rank)*standbyStep:
			if owner == d.handed {
				d.declined = owner
			}
			return false, nil
		}
		if !sleep(ctx, lookEvery) {
			return false, context.Cause(ctx)
		}
	}
}

// lookForOwner hands the hook over to the member that it is planned for, unless
// that member did not take it the last time.
func (t *term) lookForOwner(ctx context.Context) error {
	owner, rank := t.d.rank(ctx)
	if rank == 0 || owner == t.d.declined {
		t.foreign = 0
		return nil
	}
	if t.foreign++; t.foreign < handOverAfter {
		return nil
	}
	t.d.handed = owner
	t.d.log.Info("webhook is handed over", "member", owner)
	return errHandOver
}
