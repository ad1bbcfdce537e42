package main

// replayMutants are the breaks of what is appended for one consumer, and of
// replays.
var replayMutants = []mutant{
	{
		name: "replay: what waits in the queue is appended as well",
		file: "sqlite/additions.go",
		old:  "(SELECT 1 FROM events e WHERE id = ?2 AND n > c.n\n",
		new:  "(SELECT 1 FROM events e WHERE id = ?2 AND n > c.n * 0 + 1000000\n",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "replay: what was acknowledged in the queue cannot be appended",
		file: "sqlite/additions.go",
		old:  "(SELECT 1 FROM events e WHERE id = ?2 AND n > c.n\n",
		new:  "(SELECT 1 FROM events e WHERE id = ?2\n",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "replay: an appended event gets the number of the next one queued",
		file: "sqlite/additions.go",
		old:  "SET seq = last_insert_rowid() WHERE",
		new:  "SET seq = seq WHERE",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "replay: every consumer gets what is appended for one",
		file: "sqlite/additions.go",
		old:  "FROM additions WHERE consumer = ?2 AND n > ?1",
		new:  "FROM additions WHERE consumer <= ?2 AND n > ?1",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "replay: a consumer that waits does not see what is appended",
		file: "sqlite/consumers.go",
		old:  "OR EXISTS (SELECT 1 FROM additions WHERE consumer = ?2 AND n > ?1)",
		new:  "OR EXISTS (SELECT 1 FROM additions WHERE consumer = ?2 AND n < ?1)",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "replay: what was appended outlives its consumer",
		file: "sqlite/schema.go",
		old:  "	DELETE FROM additions WHERE consumer = old.name;",
		new:  "	DELETE FROM additions WHERE consumer = old.name || '?';",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "replay: what was appended stays after it was acknowledged",
		file: "sqlite/schema.go",
		old:  "	DELETE FROM additions WHERE consumer = new.name AND n <= new.n;",
		new:  "	DELETE FROM additions WHERE consumer = new.name AND n < 0;",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "replay: what expires of what was appended is not counted",
		file: "sqlite/additions.go",
		old:  "		losers[name].see(n, arrived, &e)\n",
		new:  "		losers[name].see(0, arrived, &e)\n",
		pkg:  "./sqlite", tests: "TestRetentionOfAdditions",
	},
}
