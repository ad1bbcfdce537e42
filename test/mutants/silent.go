package main

// silentMutants are the breaks of what the root reports, and of how it waits
// while it can do nothing else.
var silentMutants = []mutant{
	{
		name: "horizon: a raised retention brings records back",
		file: "start.go",
		old:  "if s.Retention > 0 && s.Retention < l.Retention {",
		new:  "if false {",
		pkg:  ".", tests: "TestEachLossShowsInLogMetricAndStatus|TestHorizonOf",
	},
	{
		name: "horizon: a retention that is raised again forgets the first time",
		file: "start.go",
		old:  "next.Trimmed = s.Horizon(l.Now).UTC()",
		new:  "next.Trimmed = l.Now.Add(-s.Retention).UTC()",
		pkg:  ".", tests: "TestEachLossShowsInLogMetricAndStatus|TestHorizonOf",
	},
	{
		name: "horizon: the retention is not stored",
		file: "start.go",
		old:  "		return stored.keeping(l), nil\n",
		new:  "		return stored, nil\n",
		pkg:  ".", tests: "TestEachLossShowsInLogMetricAndStatus",
	},
	{
		name: "gone: a term ends when its stream is gone",
		file: "reader.go",
		old:  "			if there, err := r.awaitShard(reading, err); !there {\n				return planAgain, err\n			}\n",
		new:  "			r.kick()\n			return planAgain, err\n",
		pkg:  ".", tests: "TestAStreamThatGoesIsWaitedFor|TestAListedShardThatIsNotFound",
	},
	{
		name: "gone: a shard that is listed is asked for without a pause",
		file: "reader.go",
		old:  "	r.absent.pause(reading)\n",
		new:  "",
		pkg:  ".", tests: "TestAListedShardThatIsNotFound",
	},
	{
		name: "gone: the pause between terms is that of one worker",
		file: "supervisor.go",
		old:  "	if s.pauses[shard] == nil {\n",
		new:  "	if shard != \"\" {\n",
		pkg:  ".", tests: "TestTermsThatEndAtOnceAreSpaced",
	},
	{
		name: "gone: terms that end at once are not spaced",
		file: "worker.go",
		old:  "if !w.pause.pause(candidacy) || then == planAgain {",
		new:  "if !sleep(candidacy, w.pause.first) || then == planAgain {",
		pkg:  ".", tests: "TestTermsThatEndAtOnceAreSpaced",
	},
	{
		name: "gone: a request to list overrides the listing's back-off",
		file: "supervisor.go",
		old:  "	if s.listErr == nil {\n		s.nextList = time.Now()",
		new:  "	if s.listErr == nil || true {\n		s.nextList = time.Now()",
		pkg:  ".", tests: "TestTheListingsBackOffIsNotOverridden",
	},
	{
		name: "gone: waiting for the tip overrides the listing's back-off",
		file: "supervisor.go",
		old:  "(s.listErr != nil || !s.cfg.UntilCaughtUp) {",
		new:  "!s.cfg.UntilCaughtUp {",
		pkg:  ".", tests: "TestTheListingsBackOffIsNotOverridden",
	},
	{
		name: "gone: listings that fail are not spaced",
		file: "supervisor.go",
		old:  "s.nextList = time.Now().Add(s.listRetry.next())",
		new:  "s.nextList = time.Now().Add(s.listRetry.first)",
		pkg:  ".", tests: "TestTheListingsBackOffIsNotOverridden",
	},
}
