package storetest_test

import (
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/storetest"
)

func TestMemory(t *testing.T) {
	for name, config := range map[string]storetest.MemoryConfig{
		"free at once":   {},
		"free after 5 s": {TakeoverAfter: 5 * time.Second},
		"deduplicating":  {Deduplicates: true},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, storetest.Harness{
				Bubble:       true,
				Settle:       time.Second,
				Patience:     time.Minute,
				Deduplicates: config.Deduplicates,
				New:          func(*testing.T) storetest.Backend { return backend(storetest.NewMemory(config)) },
			})
		})
	}
}

func backend(mem *storetest.Memory) storetest.Backend {
	return storetest.Backend{
		Open:             func() gerritstream.Store { return mem.Process("process") },
		Kill:             func(store gerritstream.Store) { store.(*storetest.Process).Kill() },
		Entries:          mem.Entries,
		DeadLetters:      mem.DeadLetters,
		WritePosition:    mem.WritePosition,
		WriteNewerOrigin: func() { mem.WriteOrigin([]byte(`{"format":1000000}`)) },
		Expire:           func(shard gerritstream.ShardID) { mem.ExpireQuietly(shard) },
		Operator:         func() gerritstream.Operator { return mem.Operator() },
		DamageMember: func(store gerritstream.Store) {
			mem.WriteMember(store.(*storetest.Process), []byte("garbage"))
		},
		DamageReport: func(store gerritstream.Store) {
			mem.WriteReport(store.(*storetest.Process), []byte("garbage"))
		},
		Foreign:  func(shard gerritstream.ShardID) func() { return mem.Foreign("another program", shard) },
		FailNext: mem.FailNext,
	}
}

func TestMemoryPauses(t *testing.T) {
	storetest.RunPauses(t, storetest.Harness{
		Bubble:   true,
		Settle:   time.Second,
		Patience: time.Minute,
		New: func(*testing.T) storetest.Backend {
			return backend(storetest.NewMemory(storetest.MemoryConfig{}))
		},
	})
}
