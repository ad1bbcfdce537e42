package main

// moveMutants are the breaks of moving a SQLite file into PostgreSQL, and of
// what an operator of that needs.
var moveMutants = []mutant{
	{
		name: "move: a file that was moved can be opened again",
		file: "sqlite/move.go",
		old:  "		return tx.script(fmt.Sprintf(\"PRAGMA application_id=%d\", movedID))\n",
		new:  "		return nil\n",
		pkg:  "./sqlite", tests: "TestMovedFileIsRefused",
	},
	{
		name: "move: a process that has the file open wins a lease",
		file: "sqlite/move.go",
		old: "CREATE TRIGGER moved_lease BEFORE INSERT ON leases BEGIN SELECT raise(ABORT, 'the store was moved'); END;\n" +
			"CREATE TRIGGER moved_term BEFORE UPDATE ON leases BEGIN SELECT raise(ABORT, 'the store was moved'); END;\n",
		new: "CREATE TRIGGER moved_lease BEFORE INSERT ON leases WHEN false BEGIN SELECT 1; END;\n" +
			"CREATE TRIGGER moved_term BEFORE UPDATE ON leases WHEN false BEGIN SELECT 1; END;\n",
		pkg: "./sqlite", tests: "TestMovedFileIsRefused",
	},
	{
		name: "move: a file that is moved elsewhere is moved again",
		file: "sqlite/move.go",
		old:  "		case s.moved != nil && s.moved.to != to:\n			return s.moved.refusal()\n",
		new:  "",
		pkg:  "./sqlite", tests: "TestMovedFileIsRefused",
	},
	{
		name: "move: a move that is complete is cancelled",
		file: "sqlite/move.go",
		old:  "		if s.moved.done {\n			return s.moved.refusal()\n		}\n",
		new:  "",
		pkg:  "./sqlite", tests: "TestMovedFileIsRefused",
	},
	{
		name: "move: a process that died within a lease's time counts as dead at once",
		file: "sqlite/move.go",
		old:  "	if !storekit.Sleep(ctx, longest) {\n",
		new:  "	if !storekit.Sleep(ctx, longest/1000) {\n",
		pkg:  "./sqlite", tests: "TestProcessesThatUseAFileAreNamed",
	},
	{
		name: "take over: what was written is not compared",
		file: "postgres/takeover.go",
		old:  "	if err == nil && !bytes.Equal(got.hash.Sum(nil), want.hash.Sum(nil)) {\n",
		new:  "	if bytes.Equal(nil, []byte{1}) {\n",
		pkg:  "./postgres", tests: "TestTakeOverIsAllOrNothing",
	},
	{
		name: "take over: numbers begin at 1 again",
		file: "postgres/takeover.go",
		old:  "	if err := t.number(ctx); err != nil {\n",
		new:  "	if err := ctx.Err(); err != nil {\n",
		pkg:  "./postgres", tests: "TestTakeOverHasEverything",
	},
	{
		name: "take over: rows without a table are left behind",
		file: "postgres/takeover.go",
		old:  "		if !known && name != sequences && from.Count > 0 {\n",
		new:  "		if !known && name != sequences && from.Count > 1000 {\n",
		pkg:  "./postgres", tests: "TestTakeOverIsAllOrNothing",
	},
	{
		name: "take over: a process may use the schema meanwhile",
		file: "postgres/takeover.go",
		old:  "	if taken.Was = held > 0; processes > 0 && !taken.Was {\n",
		new:  "	if taken.Was = held > 0; processes > 1000 && !taken.Was {\n",
		pkg:  "./postgres", tests: "TestTakeOverLetsNobodyIn",
	},
	{
		name: "PostgreSQL: a commit that was given up does not wait for the standby",
		file: "postgres/cancel.go",
		old:  "		if connected.Load() {\n",
		new:  "		if connected.Load() && network == \"\" {\n",
		pkg:  "./postgres", tests: "TestLostCommitStillWaitsForTheStandby",
	},
	{
		name: "PostgreSQL: a commit goes on though nobody waits for it",
		file: "postgres/writer.go",
		old:  "		defer context.AfterFunc(j.caller, gone)()\n",
		new:  "",
		pkg:  "./postgres", tests: "TestCommitEndsWithItsContext",
	},
	{
		name: "PostgreSQL: a server that goes away while a process starts ends it",
		file: "internal/daemon/webhooks.go",
		old:  "	err := d.patiently(ctx, func() (err error) {\n		group, err = d.store.GroupState(ctx, nil)\n		return err\n	})\n",
		new:  "	var err error\n	group, err = d.store.GroupState(ctx, nil)\n",
		pkg:  "./internal/daemon", tests: "TestAStartWaitsForPostgreSQL",
	},
	{
		name: "PostgreSQL: a name that leads to a standby ends a process",
		file: "postgres/errors.go",
		old:  "	\"0A000\": elsewhere,",
		new:  "	\"0A000\": lasting,",
		pkg:  "./postgres", tests: "TestNameLeadsToAStandby",
	},
	{
		name: "PostgreSQL: a reader is granted leases",
		file: "postgres/grants.go",
		old:  "	fmt.Fprintf(&b, \"GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s;\\n\", in, who)\n",
		new:  "	fmt.Fprintf(&b, \"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA %s TO %s;\\n\", in, who)\n",
		pkg:  "./postgres", tests: "TestRolesHaveWhatTheyNeed",
	},
	{
		name: "PostgreSQL: a password in a parameter is shown",
		file: "internal/daemon/config/postgres.go",
		old:  "	return secretParameter.ReplaceAllString(address, \"${1}\"+masked)\n",
		new:  "	return address\n",
		pkg:  "./internal/daemon/config", tests: "TestPostgresPasswordsAreNotShown",
	},
}
