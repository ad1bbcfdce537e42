package main

// kinesisClientMutants are the breaks of how package kinesis reaches the service
// and whose credentials it has.
var kinesisClientMutants = []mutant{
	{
		name: "the authorities that the user trusts do not count for Kinesis",
		file: "kinesis/client.go",
		old:  "		return c.WithTimeout(0)\n",
		new:  "		return awshttp.NewBuildableClient().WithTransportOptions(tune)\n",
		pkg:  "./kinesis", tests: "TestAuthoritiesOfTheUser",
	},
	{
		name: "a silent HTTP/2 connection is not pinged",
		file: "kinesis/client.go",
		old:  "	t.HTTP2 = &http.HTTP2Config",
		new:  "	_ = &http.HTTP2Config",
		pkg:  "./kinesis", tests: "TestSilentConnectionIsReplaced",
	},
	{
		name: "a ping is waited for longer than a request",
		file: "kinesis/client.go",
		old:  ", PingTimeout: pingWithin",
		new:  "",
		pkg:  "./kinesis", tests: "TestSilentConnectionIsReplaced",
	},
	{
		name: "nothing ends a request for credentials that nobody answers",
		file: "kinesis/client.go",
		old:  "awshttp.NewBuildableClient().WithTimeout(credentialsPatience)",
		new:  "awshttp.NewBuildableClient()",
		pkg:  "./kinesis", tests: "TestOnlyRequestsForCredentials",
	},
	{
		name: "a page that takes long is given up",
		file: "kinesis/client.go",
		old:  "		return c.WithTimeout(0)\n",
		new:  "		return c\n",
		pkg:  "./kinesis", tests: "TestOnlyRequestsForCredentials",
	},
}
