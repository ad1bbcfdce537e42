package main

// acknowledgingMutants are the breaks of the set of events acknowledged.
var acknowledgingMutants = []mutant{
	{
		name: "queue: a single event acknowledges those before it",
		file: "queue/consumer.go",
		old:  "	if next > 0 {\n		first =",
		new:  "	if next < 0 {\n		first =",
		pkg:  "./queue", tests: "TestAcknowledgingInAnyOrder",
	},
	{
		name: "queue: what is acknowledged beyond comes again",
		file: "queue/consumer.go",
		old:  "		if !c.done.Has(e.Number) && ",
		new:  "		if ",
		pkg:  "./queue", tests: "TestAcknowledgingInAnyOrder",
	},
	{
		name: "queue: events whose hand-out failed are skipped",
		file: "queue/consumer.go",
		old:  "				c.unread(before)\n",
		new:  "",
		pkg:  "./queue", tests: "TestAcknowledgingInAnyOrder",
	},
	{
		name: "queue: an acknowledgement that failed is not stored later",
		file: "queue/consumer.go",
		old:  "	if err := c.lease.Ack(ctx, c.done); err != nil {",
		new:  "	c.unsaved = false\n	if err := c.lease.Ack(ctx, c.done); err != nil {",
		pkg:  "./queue", tests: "TestAcknowledgingInAnyOrder",
	},
	{
		name: "queue: what was not handed out can be acknowledged alone",
		file: "queue/consumer.go",
		old:  "		if !c.isOpen(n) && !c.done.Has(n) {",
		new:  "		if !c.isOpen(n) && c.done.Has(n-1000) {",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "queue: pending counts what is acknowledged beyond",
		file: "internal/storekit/pending.go",
		old:  "	if c.done.Has(n) || !c.filter.keeps(n, e) {",
		new:  "	if c.done.Has(n*1000) || !c.filter.keeps(n, e) {",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "queue: a seek leaves acknowledged what is beyond",
		file: "sqlite/consumers.go",
		old:  "ahead = ?1, beyond = NULL, at = ?2",
		new:  "ahead = ?1, at = ?2",
		pkg:  "./sqlite", tests: "TestQueue",
	},
	{
		name: "queue: an addition that was acknowledged alone stays",
		file: "sqlite/schema.go",
		old:  "AFTER UPDATE OF beyond ON consumers WHEN new.beyond IS NOT NULL BEGIN",
		new:  "AFTER UPDATE OF beyond ON consumers WHEN new.beyond IS NULL BEGIN",
		pkg:  "./sqlite", tests: "TestQueue",
	},
}
