package main

// alertMutants are the breaks of alerts, and of the metrics that they need.
var alertMutants = []mutant{
	{
		name: "alerts: the last cause of a section counts, not the worst",
		file: "internal/admin/gauges.go",
		old:  "worst[causes[i].Help] = max(worst[causes[i].Help], causes[i].Level)",
		new:  "worst[causes[i].Help] = causes[i].Level",
		pkg:  "./internal/admin", tests: "TestTroubleIsTheWorstOfEachSection",
	},
	{
		name: "alerts: causes are there only while something is wrong",
		file: "internal/admin/gauges.go",
		old:  "		send(ch, descTrouble, float64(worst[section]), section)\n",
		new:  "		if worst[section] > 0 {\n			send(ch, descTrouble, float64(worst[section]), section)\n		}\n",
		pkg:  "./internal/admin", tests: "TestTroubleIsTheWorstOfEachSection",
	},
	{
		name: "alerts: what is wrong is as of when the page was last open",
		file: "internal/daemon/inspect.go",
		old:  "	i.look()\n	view := overview.New(i.input())\n",
		new:  "	view := overview.View{}\n",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/^runbook$",
	},
	{
		name: "alerts: the info names no connection",
		file: "internal/daemon/build.go",
		old:  "		Connection: d.options.Config.Connection,\n",
		new:  "",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/^runbook$",
	},
	{
		name: "alerts: there is no OpenMetrics",
		file: "internal/admin/metrics.go",
		old:  "EnableOpenMetrics: true",
		new:  "EnableOpenMetrics: false",
		pkg:  "./internal/admin", tests: "TestOpenMetrics",
	},
	{
		name: "alerts: a halted shard of an older version is one that Kinesis fails",
		file: "internal/overview/kinds.go",
		old:  "regexp.MustCompile(`^halted`)",
		new:  "regexp.MustCompile(`^halted$`)",
		pkg:  "./internal/overview", tests: "TestKinds",
	},
}
