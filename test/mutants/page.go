package main

// pageMutants are the breaks of what the status page says of the group.
var pageMutants = []mutant{
	{
		name: "page: a shard is at the tip while Kinesis is away",
		file: "internal/overview/shard.go",
		old:  "	case quiet > silent+m.in.Setup.PollInterval:\n",
		new:  "	case false:\n",
		pkg:  "./internal/overview", tests: "TestStateOfAShard",
	},
	{
		name: "page: a page that is late leaves a shard at the tip",
		file: "internal/overview/shard.go",
		old:  "	case quiet > fresh+m.in.Setup.PollInterval:\n",
		new:  "	case false:\n",
		pkg:  "./internal/overview", tests: "TestStateOfAShard",
	},
	{
		name: "page: the counts of two leaders make a rate",
		file: "internal/overview/history.go",
		old:  "of.process != r.Process || ",
		new:  "",
		pkg:  "./internal/overview", tests: "TestRates",
	},
	{
		name: "page: the rate of some shards is taken for that of all",
		file: "internal/overview/overview.go",
		old:  "known && !missing",
		new:  "known && (true || !missing)",
		pkg:  "./internal/admin", tests: "TestPageSaysWhatIsSo",
	},
	{
		name: "page: one cause is told for processes and again for shards",
		file: "internal/overview/causes.go",
		old:  "		case c.thing == \"process\" && ofSource(c.kind) && has(c.kind, \"shard\"):\n",
		new:  "",
		pkg:  "./internal/admin", tests: "TestPageSaysWhatIsSo",
	},
	{
		name: "page: shards of others look read while the store is away",
		file: "internal/overview/sentence.go",
		old:  "	if v.sum.storeAway > 0 {\n",
		new:  "	if false {\n",
		pkg:  "./internal/admin", tests: "TestPageSaysWhatIsSo",
	},
	{
		name: "page: a process that was restarted counts as gone",
		file: "internal/overview/history.go",
		old:  "!running[name] && !restarted && ",
		new:  "!running[name] && ",
		pkg:  "./internal/overview", tests: "TestGone",
	},
	{
		name: "page: updates keep a stop waiting",
		file: "internal/admin/server.go",
		old:  "	s.stop()\n	stop, cancel",
		new:  "	stop, cancel",
		pkg:  "./internal/admin", tests: "TestUpdates",
	},
	{
		name: "page: updates replace what is focused and open",
		file: "internal/admin/page/page.js",
		old:  "		morph(main, now);\n",
		new:  "		main.replaceWith(now);\n",
		pkg:  "./internal/admin", tests: "TestPageIsUpdatedInPlace",
	},
	{
		name: "page: the store is inspected all the time while nobody looks",
		file: "internal/daemon/inspect.go",
		old:  "	return watched || ",
		new:  "	return watched || true || ",
		pkg:  "./internal/daemon", tests: "TestInspectsSeldomUnlessAsked",
	},
	{
		name: "page: an outage of the store is not told",
		file: "internal/daemon/inspect.go",
		old:  "			i.last.AwaySince = began\n",
		new:  "",
		pkg:  "./internal/daemon", tests: "TestInspectsSeldomUnlessAsked",
	},
	{
		name: "page: what is wrong is below the first window",
		file: "internal/admin/page/page.css",
		old:  "#now { border: 1px solid;",
		new:  "#now { margin-top: 1000px; border: 1px solid;",
		pkg:  "./internal/admin", tests: "TestPageInABrowser",
	},
}
