package main

// pauseMutants are the breaks of pausing shards.
var pauseMutants = []mutant{
	{
		name: "pauses: SQLite's fence does not look for a pause",
		file: "sqlite/commit.go",
		old:  "AND NOT EXISTS (SELECT 1 FROM pauses WHERE shard IN ('', ?4))",
		new:  "",
		pkg:  "./sqlite", tests: "TestPauses",
	},
	{
		name: "pauses: SQLite's fence does not look for a pause of all",
		file: "sqlite/commit.go",
		old:  "FROM pauses WHERE shard IN ('', ?4))",
		new:  "FROM pauses WHERE shard IN (?4))",
		pkg:  "./sqlite", tests: "TestPauses",
	},
	{
		name: "pauses: a commit that a pause refuses ends the term",
		file: "sqlite/commit.go",
		old:  "	case held:\n",
		new:  "	case held && t.number == 0:\n",
		pkg:  "./sqlite", tests: "TestPauses",
	},
	{
		name: "pauses: ZooKeeper's transaction does not check their version",
		file: "zookeeper/transaction.go",
		old:  "Path: at.pauses(), Version: t.pauses}",
		new:  "Path: at.pauses(), Version: -1}",
		pkg:  "./zookeeper", tests: "TestPauses",
	},
	{
		name: "pauses: a pause that was not known ends the term",
		file: "zookeeper/commit.go",
		old:  "	case of == opPauses && isConflict(err):\n",
		new:  "	case of == opPauses && isConflict(err) && a.nonce == \"\":\n",
		pkg:  "./zookeeper", tests: "TestPauses",
	},
	{
		name: "pauses: a change overwrites another one",
		file: "zookeeper/pauses.go",
		old:  "sess.set(ctx, path, raw, n.version())",
		new:  "sess.set(ctx, path, raw, -1)",
		pkg:  "./zookeeper", tests: "TestPauses",
	},
	{
		name: "pauses: a term reads before it knows of them",
		file: "consumer/reader.go",
		old:  "	if err := r.hold(); err != nil { // before anything is read or committed\n		return campaignAgain, err\n	}\n",
		new:  "",
		pkg:  "./consumer", tests: "TestWhoeverIsElected|TestATermWaitsUntilItKnows",
	},
	{
		name: "pauses: what was refused is kept through a pause",
		file: "consumer/pauses.go",
		old:  "	r.batch, r.cursor, r.filtered, r.seen = batch{}, r.committed, 0, time.Time{}\n",
		new:  "",
		pkg:  "./consumer", tests: "TestAPause",
	},
	{
		name: "pauses: reading goes on until a commit is refused",
		file: "consumer/reader.go",
		old:  "		if paused {\n			return pauses.ErrPaused\n",
		new:  "		if paused && r.cfg.Pauses == nil {\n			return pauses.ErrPaused\n",
		pkg:  "./consumer", tests: "TestAPausedShardIsNotRead",
	},
	{
		name: "pauses: a sink is tried during a pause",
		file: "consumer/commit.go",
		old:  "paused, _ := r.c.paused.of(r.w.shard); paused {",
		new:  "paused, _ := r.c.paused.of(r.w.shard); paused && r.cfg.Pauses == nil {",
		pkg:  "./consumer", tests: "TestAPauseEndsTheWaitForASink",
	},
	{
		name: "pauses: their end is by the local clock",
		file: "consumer/pauses.go",
		old:  "	now := c.clock.now()\n	if _, ended",
		new:  "	now := time.Now()\n	if _, ended",
		pkg:  "./consumer", tests: "TestAPauseEndsByItself",
	},
	{
		name: "pauses: a damaged record pauses nothing",
		file: "pauses/pauses.go",
		old:  "		return Set{{By: \"the store\"",
		new:  "		_ = Set{{By: \"the store\"",
		pkg:  "./pauses", tests: "TestADamagedRecord",
	},
}
