package main

// benchMutants are the breaks of package bench: of what it leaves alone, and
// what it leaves behind.
var benchMutants = []mutant{
	{
		name: "kinesis: a measurement keeps the pace",
		file: "kinesis/source.go",
		old:  "unpaced: c.PollInterval < 0,",
		new:  "unpaced: c.PollInterval < -2,",
		pkg:  "./kinesis", tests: "TestAReaderWithoutPacePausesOnlyAtTheTip",
	},
	{
		name: "bench: a file that exists is taken for its own",
		file: "internal/bench/sqlite.go",
		old:  "err := os.Mkdir(folder, 0o700)",
		new:  "err := os.MkdirAll(folder, 0o700)",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/bench_refused",
	},
	{
		name: "bench: the folder stays",
		file: "internal/bench/sqlite.go",
		old:  "return os.RemoveAll(t.folder)",
		new:  "return nil",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/bench_(json|interrupted)",
	},
	{
		name: "bench: a ZooKeeper in use is not refused",
		file: "internal/bench/zookeeper.go",
		old:  "if len(uses) > 0 && !o.Shared {",
		new:  "if len(uses) > 100 && !o.Shared {",
		pkg:  "./internal/bench", tests: "TestAZooKeeperInUseIsRefused",
	},
	{
		name: "bench: candidates of another program are no use",
		file: "internal/bench/zookeeper.go",
		old:  "		candidates += len(waiting)\n",
		new:  "		candidates += len(waiting[:0])\n",
		pkg:  "./internal/bench", tests: "TestAZooKeeperInUseIsRefused/candidates",
	},
	{
		name: "bench: what a running bench has made is removed",
		file: "internal/bench/zookeeper.go",
		old:  "	case alive && name == base:\n",
		new:  "	case alive && name == base && name == \"\":\n",
		pkg:  "./internal/bench", tests: "TestOnlyWhatAKilledBenchLeftIsRemoved",
	},
	{
		name: "bench: nodes above its own stay",
		file: "internal/bench/zookeeper.go",
		old:  "range slices.Backward(t.made) {",
		new:  "range slices.Backward(t.made[:0]) {",
		pkg:  "./internal/bench", tests: "TestOnZooKeeperNothingIsLeft",
	},
	{
		name: "bench: an interrupted bench removes nothing",
		file: "internal/bench/bench.go",
		old:  "		if failed := b.target.remove(clean); failed != nil {",
		new:  "		if ctx.Err() != nil {\n			return\n		}\n		if failed := b.target.remove(clean); failed != nil {",
		pkg:  "./internal/bench", tests: "TestAnInterruptedBenchLeavesNothing",
	},
	{
		name: "bench: fan-out takes the subscriptions of the user's stream",
		file: "internal/bench/reading.go",
		old:  "c.Read = kinesis.ReadPoll // a subscription",
		new:  "c.ConsumerName = \"\" // a subscription",
		pkg:  "./internal/bench", tests: "TestAStreamIsOnlyRead",
	},
	{
		name: "bench: a stream that only a file names is read",
		file: "cmd/gerritstream/bench.go",
		old:  "b.Stream = len(src.Flags[\"stream\"]) > 0",
		new:  "b.Stream = len(src.Flags[\"stream\"])+len(src.File) > 0",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/bench_stream",
	},
	{
		name: "bench: the ratio is that of different turns",
		file: "internal/bench/bench.go",
		old:  "Ratio: median(ratios),",
		new:  "Ratio: median(each(of[0], sample.rate)) / median(each(of[1], sample.rate)),",
		pkg:  "./internal/bench", tests: "TestARatioIsOfOneTurn",
	},
}
