package main

// consumerMutants are the breaks of what the store knows of consumers.
var consumerMutants = []mutant{
	{
		name: "consumers: a row with a number below 0 makes retention wait for nobody",
		file: "sqlite/retention.go",
		old:  "	case bytes > maxBytes, !floor.Valid:\n",
		new:  "	case bytes > maxBytes, floor.Int64 < 0:\n",
		pkg:  "./sqlite", tests: "TestBadRowsOfConsumers",
	},
	{
		name: "consumers: one whose row cannot be read loses nothing",
		file: "internal/storekit/consumers.go",
		old:  "	ranges, _ := queue.DecodeRanges(beyond)\n",
		new: "	ranges, err := queue.DecodeRanges(beyond)\n" +
			"	if err != nil {\n		upTo = 1 << 62\n	}\n",
		pkg: "./sqlite", tests: "TestBadRowsOfConsumers",
	},
	{
		name: "consumers: what was acknowledged beyond an event counts as unread",
		file: "sqlite/retention.go",
		old:  "acknowledged = acknowledged || l.Has(n)",
		new:  "acknowledged = acknowledged || n < 0 && l.Has(n)",
		pkg:  "./sqlite", tests: "TestRetentionWaitsForConsumers|TestExpiredUnread",
	},
	{
		name: "consumers: a filter that cannot be read hides all consumers",
		file: "sqlite/consumers.go",
		old:  "		info.Fault = err.Error()\n",
		new:  "		return info, err\n",
		pkg:  "./sqlite", tests: "TestBadRowsOfConsumers",
	},
	{
		name: "consumers: a heartbeat of the future counts",
		file: "sqlite/consumers.go",
		old:  "`p.beaten BETWEEN ?1 - p.ttl AND ?1 + p.ttl`",
		new:  "`p.beaten >= ?1 - p.ttl`",
		pkg:  "./sqlite", tests: "TestAConsumerIsFreeAfterTheClockWasSetBack",
	},
	{
		name: "consumers: the lease of a removed one stays",
		file: "sqlite/consumers.go",
		old:  "`DELETE FROM leases WHERE shard = ?`",
		new:  "`DELETE FROM leases WHERE shard = ? AND term < 0`",
		pkg:  "./sqlite", tests: "TestNothingIsLeftOfARemovedConsumer",
	},
	{
		name: "consumers: a filter counts where it is not read",
		file: "internal/storekit/pending.go",
		old:  "		l.upTo = max(p.window, l.after)\n",
		new:  "		l.upTo = l.after\n",
		pkg:  "./sqlite", tests: "TestPendingInALongQueue",
	},
	{
		name: "consumers: what is handed out counts as acknowledged then",
		file: "sqlite/consumers.go",
		old:  "SET handed = max(handed, ?), ahead = max(ahead, ?) WHERE name = ?`,",
		new:  "SET handed = max(handed, ?), ahead = max(ahead, ?), at = at + 1 WHERE name = ?`,",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "consumers: Ctrl-C on a terminal reaches a reader's command",
		file: "cmd/gerritstream/command_linux.go",
		old:  "Setpgid: true, ",
		new:  "",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/queue_command",
	},
	{
		name: "consumers: a command outlives its reader",
		file: "cmd/gerritstream/command_linux.go",
		old:  ", Pdeathsig: syscall.SIGKILL",
		new:  "",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/queue_command",
	},
	{
		name: "consumers: what a command began outlives the lease",
		file: "cmd/gerritstream/command_linux.go",
		old:  "syscall.Kill(-p.Pid, ",
		new:  "syscall.Kill(p.Pid, ",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/queue_command",
	},
	{
		name: "consumers: wide ranges are counted as pending",
		file: "internal/storekit/pending.go",
		old:  "			n -= p.after[r.First-1] - p.after[r.Last]\n",
		new:  "			n -= 0 * r.First\n",
		pkg:  "./sqlite", tests: "TestPendingInALongQueue",
	},
}
