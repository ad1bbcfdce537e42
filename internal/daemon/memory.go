package daemon

import (
	"log/slog"
	"math"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// limitMemory makes the garbage collector respect the cgroup's memory limit, unless $GOMEMLIMIT says otherwise, and warns
// when the budget for pages leaves too little for everything else.
func limitMemory(budget int64, log *slog.Logger) {
	limit, err := memlimit.Set()
	if err != nil {
		log.Warn("the cgroup's memory limit cannot be read", "err", err)
		return
	}
	if limit == math.MaxInt64 {
		return
	}
	log.Debug("memory limit", "bytes", limit)
	if budget > limit/2 {
		log.Warn("the memory setting is more than half of the process' memory limit", "memory", budget, "limit", limit)
	}
}
