package main

// configCheckMutants are the breaks of `config check`, `config show` and
// `iam-policy`.
var configCheckMutants = []mutant{
	{
		name: "config check: what is wrong has exit code 0",
		file: "cmd/gerritstream/config.go",
		old:  "	if failed.count == 0 {\n",
		new:  "	if true {\n",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/config_check$",
	},
	{
		name: "config check: a permission that is missing passes",
		file: "kinesis/try.go",
		old:  "	case c == keyDenied:\n",
		new:  "	case c == keyDenied || c == denied:\n",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/config_check_live",
	},
	{
		name: "config check: a consumer is registered by trying",
		file: "kinesis/try.go",
		old:  "		case errClass(err) == notFound:\n",
		new:  "		case errClass(err) == notFound:\n			_, _, _ = s.lookUpConsumer(ctx)\n",
		pkg:  "./kinesis", tests: "TestTryChangesNothing",
	},
	{
		name: "config check: the store of another stream passes",
		file: "internal/daemon/check.go",
		old:  "is.Origin.Stream.ARN != l.listing.Stream.ARN {",
		new:  "false {",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/config_check_live",
	},
	{
		name: "config check: a receiver that may not be connected to passes",
		file: "webhook/reach.go",
		old:  "newDialer(n, h.AllowPrivate)",
		new:  "newDialer(n, true)",
		pkg:  "./webhook", tests: "TestReach",
	},
	{
		name: "config check: a queue that nobody reads passes",
		file: "internal/daemon/config/stores.go",
		old:  "			if err == nil && n == 0 {\n",
		new:  "			if err == nil && n < 0 {\n",
		pkg:  "./internal/daemon", tests: "TestZooKeeperWithNothingButZuulConf",
	},
	{
		name: "config show: a key is shown",
		file: "internal/daemon/config/explain.go",
		old:  "Value: masked,",
		new:  "Value: fmt.Sprint(l.config.Kinesis.Credentials.Keys.Retrieve(nil)),",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/config_show",
	},
	{
		name: "iam-policy: a wildcard in a condition is compared as it stands",
		file: "internal/iam/iam.go",
		old:  `operator = "StringLike"`,
		new:  `operator = "StringEquals"`,
		pkg:  "./internal/iam", tests: "TestWildcardIsMatched",
	},
	{
		name: "admin: profiles are served without being asked for",
		file: "internal/admin/server.go",
		old:  "	if o.Pprof {\n",
		new:  "	if true {\n",
		pkg:  "./internal/admin", tests: "TestProfilesAreServedOnRequest",
	},
	{
		name: "config: without a stream nothing of AWS is looked at",
		file: "internal/daemon/config/load.go",
		old:  "	l.checkReadable(keyFiles...)\n	for",
		new:  "	if unnamed {\n		return\n	}\n	l.checkReadable(keyFiles...)\n	for",
		pkg:  "./internal/daemon/config", tests: "TestNoStreamHidesNoFault",
	},
	{
		name: "config: a stream that is not understood is missing, too",
		file: "internal/daemon/config/load.go",
		old:  "unnamed && !l.unread && !l.faults.about(\"stream\")",
		new:  "unnamed && !l.unread",
		pkg:  "./internal/daemon/config", tests: "TestOtherFaults",
	},
	{
		name: "config: the schema refuses a section without keys",
		file: "internal/daemon/config/schema.go",
		old:  `"type": []string{"object", "null"}`,
		new:  `"type": "object"`,
		pkg:  "./test", tests: "TestSchemaAcceptsWhatLoadAccepts",
	},
	{
		name: "config: sizes are read in more forms than the schema knows",
		file: "internal/daemon/config/values.go",
		old:  "err != nil || !sizes.MatchString(v) || ",
		new:  "err != nil || sizes == nil || ",
		pkg:  "./test", tests: "TestSchemaAcceptsWhatLoadAccepts",
	},
}
