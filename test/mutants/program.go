package main

// programMutants are the breaks of what surrounds the library: the command, the
// daemon and what it serves.
var programMutants = []mutant{
	{
		name: "health, metrics and page are served under any name",
		file: "internal/admin/hosts.go",
		old:  "if !h.allow(r.Host) {",
		new:  "if false {",
		pkg:  "./internal/admin", tests: "TestStrangeHostIsRefused",
	},
	{
		name: "a connection to the admin port that says nothing stays open",
		file: "internal/admin/server.go",
		old:  "			ReadHeaderTimeout: headerTimeout,\n			ReadTimeout:       totalTimeout,\n",
		new:  "",
		pkg:  "./internal/admin", tests: "TestConnectionsAreBounded",
	},
	{
		name: "any number of connections to the admin port is served",
		file: "internal/admin/server.go",
		old:  "netutil.LimitListener(l, maxConnections)",
		new:  "netutil.LimitListener(l, 1000*maxConnections)",
		pkg:  "./internal/admin", tests: "TestConnectionsAreBounded",
	},
	{
		name: "a stream that is being made ends a process that should wait for it",
		file: "supervisor.go",
		old:  "return s.begun.IsZero() && !s.cfg.WaitForSetup",
		new:  "return s.begun.IsZero()",
		pkg:  ".", tests: "TestRunWaitsForItsSetup",
	},
	{
		name: "a wrong command line has Go's own exit code",
		file: "cmd/gerritstream/exit.go",
		old:  "exitUsage       = 64",
		new:  "exitUsage       = 2",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/usage",
	},
	{
		name: "status: whatever had a leader once is a shard that somebody must read",
		file: "cmd/gerritstream/statusview.go",
		old:  "if s.Position != nil || s.Leader != \"\" {",
		new:  "if s.Position != nil || true {",
		pkg:  "./cmd/gerritstream", tests: "TestStatusFindsNothingWhereAllIsRight",
	},
	{
		name: "log: each dead letter without room has a warning of its own",
		file: "internal/storekit/discards.go",
		old:  "due := d.told.IsZero() || now.Sub(d.told) >= discardsEvery",
		new:  "due := true",
		pkg:  "./internal/storekit", tests: "TestDiscardsAreToldOnceAMinute",
	},
	{
		name: "status: a burst of dead letters is no finding",
		file: "cmd/gerritstream/statusview.go",
		old:  "p.deadRate.Burst(p.At)",
		new:  "p.deadRate.Records < 0",
		pkg:  "./cmd/gerritstream", tests: "TestStatusTrouble",
	},
	{
		name: "status: nothing may settle",
		file: "cmd/gerritstream/statusview.go",
		old:  "return at.Sub(began) < settleWithin",
		new:  "return false",
		pkg:  "./cmd/gerritstream", tests: "TestStatusFindsNothingWhereAllIsRight",
	},
	{
		name: "status: a shard without a leader is no finding",
		file: "cmd/gerritstream/statusview.go",
		old:  "	return s.settled\n",
		new:  "	return false\n",
		pkg:  "./cmd/gerritstream", tests: "TestStatusTrouble",
	},
	{
		name: "status: a leader that commits nothing is no finding",
		file: "cmd/gerritstream/statusview.go",
		old:  "s.Trouble == \"\" && age > staleCommit",
		new:  "false && age > staleCommit",
		pkg:  "./cmd/gerritstream", tests: "TestStatusTrouble",
	},
}
