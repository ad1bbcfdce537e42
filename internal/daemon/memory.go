package daemon

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// besidesPages is what a process may use beside the pages before the garbage
// collector works harder: all else it holds takes about 20 MiB with 64 shards,
// and the rest is garbage between two collections.
const besidesPages = 64 << 20

// limitMemory makes the garbage collector respect the cgroup's memory limit,
// unless $GOMEMLIMIT says otherwise, and warns when the budget for pages leaves
// too little for everything else. Without a limit, or with a generous one, it
// respects the budget: pages are large, and the collector's own rule would let
// as many bytes of old ones stay as there are of pages in use.
func limitMemory(budget int64, log *slog.Logger) {
	limit, err := memlimit.Set()
	if err != nil {
		log.Warn("the cgroup's memory limit cannot be read", "err", err)
		return
	}
	if limit != math.MaxInt64 && budget > limit/2 {
		log.Warn("the memory setting is more than half of the process' memory limit", "memory", budget, "limit", limit)
	}
	if own := budget + besidesPages; own < limit && os.Getenv("GOMEMLIMIT") == "" {
		limit = own
		debug.SetMemoryLimit(limit)
	}
	log.Debug("memory limit", "bytes", limit)
}
