package main

// leaseMutants are breaks of the elections that stores with tables share. Those
// that only a store can see are among SQLite's and PostgreSQL's.
var leaseMutants = []mutant{
	{
		name: "leases: a withdrawn candidacy keeps the lease it won",
		file: "internal/lease/election.go",
		old:  "	if !first && t != nil {\n",
		new:  "	if !first && t != nil && err != nil {\n",
		pkg:  "./internal/lease", tests: "TestAWithdrawnCampaignKeepsNoLease",
	},
	{
		name: "leases: a term is tried twice",
		file: "internal/lease/heartbeat.go",
		old:  "	t.Number = max(seen, h.tried[shard]) + 1\n",
		new:  "	t.Number = seen + 1\n",
		pkg:  "./internal/lease", tests: "TestALeaseOfNoTermIsFreed",
	},
	{
		name: "leases: a process that leaves takes leases",
		file: "internal/lease/heartbeat.go",
		old:  "	if h.left != nil {\n		defer h.mu.Unlock()",
		new:  "	if false && h.left != nil {\n		defer h.mu.Unlock()",
		pkg:  "./internal/lease", tests: "TestAProcessThatLeavesWinsNothing",
	},
	{
		name: "leases: what was being taken when the process left is a term",
		file: "internal/lease/heartbeat.go",
		old:  "		err = h.left\n",
		new:  "",
		pkg:  "./internal/lease", tests: "TestAProcessThatLeavesWinsNothing",
	},
	{
		name: "leases: a lease is freed while it is being taken",
		file: "internal/lease/heartbeat.go",
		old:  "	h.tried[shard], h.taking[shard] = t.Number, t.Number\n",
		new:  "	h.tried[shard] = t.Number\n",
		pkg:  "./internal/lease", tests: "TestALeaseOfNoTermIsFreed",
	},
	{
		name: "leases: the first candidate is not left the lease",
		file: "internal/lease/election.go",
		old:  "w.preceded(c.shard, now), now)",
		new:  "w.preceded(c.shard, now) && false, now)",
		pkg:  "./internal/lease", tests: "TestALeaseIsLeftToTheFirstCandidate",
	},
	{
		name: "leases: a candidate that tries loses its place",
		file: "internal/lease/election.go",
		old:  "		keep = append(keep, shard)\n		if !w.heartbeat.wins(shard) {",
		new:  "		if !w.heartbeat.wins(shard) {\n			keep = append(keep, shard)\n",
		pkg:  "./internal/lease", tests: "TestALeaseIsLeftToTheFirstCandidate",
	},
	{
		name: "leases: an error that may pass ends the calls that wait",
		file: "internal/lease/watcher.go",
		old:  "errors.Is(err, gerritstream.ErrRetryLater) || ",
		new:  "errors.Is(err, gerritstream.ErrRetryLater) && false || ",
		pkg:  "./internal/lease", tests: "TestErrorsOfALook",
	},
	{
		name: "leases: a holder that died keeps its lease",
		file: "internal/lease/lease.go",
		old:  "		now = l.since\n",
		new:  "		_ = l.since\n",
		pkg:  "./internal/lease", tests: "TestSuccession",
	},
}
