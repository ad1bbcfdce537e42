package main

// apiMutants are the breaks of the API on the socket, and of looking on.
var apiMutants = []mutant{
	{
		name: "api: a read moves on over what is not acknowledged",
		file: "internal/api/session.go",
		old:  "		if len(s.unacked) == 0 {\n",
		new:  "		if len(s.unacked) >= 0 {\n",
		pkg:  "./internal/api", tests: "TestLostAnswersLoseNothing",
	},
	{
		name: "api: an acknowledgement covers what was handed out after it",
		file: "internal/api/session.go",
		old:  "s.acked, s.unacked = number, s.unacked[at+1:]",
		new:  "s.acked, s.unacked = number, s.unacked[:at-at]",
		pkg:  "./internal/api", tests: "TestLostAnswersLoseNothing",
	},
	{
		name: "api: an acknowledgement cannot be repeated",
		file: "internal/api/session.go",
		old:  "		if number == s.acked {\n",
		new:  "		if number == -s.acked {\n",
		pkg:  "./internal/api", tests: "TestLostAnswersLoseNothing",
	},
	{
		name: "api: any token will do",
		file: "internal/api/session.go",
		old:  "subtle.ConstantTimeCompare([]byte(s.token), []byte(token)) == 1",
		new:  "subtle.ConstantTimeCompare([]byte(s.token), []byte(token)) >= 0",
		pkg:  "./internal/api", tests: "TestAcknowledgementsAreOfWhatWasHandedOut|TestSilentSessionEnds",
	},
	{
		name: "api: a silent client keeps its name",
		file: "internal/api/session.go",
		old:  "		case <-silent.C:\n			s.over, why = true, ",
		new:  "		case <-silent.C:\n			s.over, why = false, ",
		pkg:  "./internal/api", tests: "TestSilentSessionEnds",
	},
	{
		name: "api: a wait for events counts as silence",
		file: "internal/api/session.go",
		old:  "			silent.Reset(s.timeout)\n",
		new:  "",
		pkg:  "./internal/api", tests: "TestSilentSessionEnds",
	},
	{
		name: "api: a client that hangs up before it has its token keeps the name",
		file: "internal/api/consumers.go",
		old:  "if opened && (err != nil || r.Context().Err() != nil) {",
		new:  "if !opened && (err != nil || r.Context().Err() != nil) {",
		pkg:  "./internal/api", tests: "TestHangingUpEndsANewSession",
	},
	{
		name: "api: a stop leaves the leases to expire",
		file: "internal/api/session.go",
		old:  "	_ = s.consumer.Close(ctx) // else the lease expires\n",
		new:  "	_ = ctx\n",
		pkg:  "./internal/api", tests: "TestStopGivesLeasesUp",
	},
	{
		name: "api: everybody may use the socket",
		file: "internal/api/socket.go",
		old:  "socketMode  = 0o660",
		new:  "socketMode  = 0o666",
		pkg:  "./internal/api", tests: "TestSocketMode",
	},
	{
		name: "api: a slow onlooker has no bound",
		file: "internal/api/feed.go",
		old:  "len(o.lines) >= maxLines ||",
		new:  "len(o.lines) >= 1000*maxLines ||",
		pkg:  "./internal/api", tests: "TestFeedWaitsForNobody",
	},
	{
		name: "api: a filtered event overtakes what is being committed",
		file: "internal/api/feed.go",
		old:  "	case s.pending > 0:\n",
		new:  "	case s.pending > 1000000:\n",
		pkg:  "./internal/api", tests: "TestFeedKeepsTheOrder",
	},
	{
		name: "queue read: --follow ends on an error that passes",
		file: "cmd/gerritstream/queue_read.go",
		old:  "if !r.follow || err == nil || ctx.Err() != nil || !mayPass(err) {",
		new:  "if !r.follow || err == nil || ctx.Err() != nil || mayPass(err) {",
		pkg:  "./cmd/gerritstream", tests: "TestScripts/queue_follow",
	},
}
