package daemon

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/gerritstream/gerritstream/gerrit"
)

// internSlots is how many texts are remembered. Types and busy projects are a
// few hundred.
const internSlots = 2048

// interner turns fields of events into strings without a new one each time. It
// remembers a bounded number of them: each text has one slot, and the newest of
// those that share a slot stays. It may be used by several goroutines at once.
type interner struct {
	seed  maphash.Seed
	slots [internSlots]atomic.Pointer[string]
}

func newInterner() *interner { return &interner{seed: maphash.MakeSeed()} }

// text returns the field as gerrit.Text does.
func (in *interner) text(field []byte) string {
	if len(field) == 0 {
		return ""
	}
	slot := &in.slots[maphash.Bytes(in.seed, field)%internSlots]
	if known := slot.Load(); known != nil && *known == string(field) {
		return *known
	}
	text := gerrit.Text(field)
	slot.Store(&text)
	return text
}
