package main

// gerritMutants are the breaks of what is said of one event, of the filter's
// configuration, and of the library's seams.
var gerritMutants = []mutant{
	{
		name: "gerrit: an array as newRev passes",
		file: "gerrit/members.go",
		old:  "{path: \"newRev\", kinds: aText | aNull},",
		new:  "{path: \"newRev\", kinds: anything},",
		pkg:  "./gerrit", tests: "TestHostile|TestEveryMemberThatZuulReadsHasItsType",
	},
	{
		name: "gerrit: a comment that is no object passes",
		file: "gerrit/members.go",
		old:  "{path: \"patchSetComments./PATCHSET_LEVEL[]\", kinds: anObject},",
		new:  "{path: \"patchSetComments./PATCHSET_LEVEL[]\", kinds: anything},",
		pkg:  "./gerrit", tests: "TestHostile|TestEveryMemberThatZuulReadsHasItsType",
	},
	{
		name: "gerrit: the last element of an array decides",
		file: "gerrit/scan.go",
		old:  "if tree[scope].first || s.wrong != nil && slices.Max(s.wrong[element:n.last+1]) > 0 {",
		new:  "if tree[scope].first || s.wrong != nil && slices.Max(s.wrong[element:n.last+1]) > len(s.data) {",
		pkg:  "./gerrit", tests: "TestWhatCountsOfAWrongMember",
	},
	{
		name: "gerrit: what a replaced member held is still wrong",
		file: "gerrit/members.go",
		old:  "		clear(s.wrong[n.scope+1 : n.last+1])\n",
		new:  "",
		pkg:  "./gerrit", tests: "TestWhatCountsOfAWrongMember",
	},
	{
		name: "gerrit: a branch's ref-updated needs no project",
		file: "gerrit/event.go",
		old:  "if s.fault == nil && branch {",
		new:  "if s.fault == nil && branch && s.data == nil {",
		pkg:  "./gerrit", tests: "TestHostile",
	},
	{
		name: "gerrit: an object as the project of a replication passes",
		file: "gerrit/event.go",
		old:  "		s.forbidProjectObject(\"project of an event of replication\")\n",
		new:  "",
		pkg:  "./gerrit", tests: "TestHostile",
	},
	{
		name: "gerrit: a bad record is not named",
		file: "gerrit/fault.go",
		old:  "if f.Looks = looksLike(data, f); f.Looks != \"\" {",
		new:  "if looksLike(data, f) == \"\" {",
		pkg:  "./gerrit", tests: "TestABadRecordIsNamed",
	},
	{
		name: "config: a space in front of a list's entry counts",
		file: "internal/daemon/config/load.go",
		old:  "text = strings.TrimSpace(text)",
		new:  "text += \"\"",
		pkg:  "./internal/daemon/config", tests: "TestSpaceInListsIsIgnored",
	},
	{
		name: "config: a space in the file's lists counts",
		file: "internal/daemon/config/file.go",
		old:  "append(v.texts, strings.TrimSpace(text))",
		new:  "append(v.texts, text)",
		pkg:  "./internal/daemon/config", tests: "TestSpaceInListsIsIgnored",
	},
	{
		name: "gerrit: entries of a filter that match nothing are not told",
		file: "gerrit/usage.go",
		old:  "	if u.left--; u.left > 0 {",
		new:  "	if u.left--; u.left >= 0 {",
		pkg:  "./internal/daemon", tests: "TestUnusedEntriesAreWarnedAbout",
	},
	{
		name: "library: everybody is told at once that all is read",
		file: "consumer/supervisor.go",
		old:  "		if caughtUp {\n			s.c.caughtUp.note()\n",
		new:  "		if err == nil {\n			s.c.caughtUp.note()\n",
		pkg:  "./consumer", tests: "TestWaitCaughtUp",
	},
	{
		name: "library: a listener runs twice",
		file: "consumer/consumer.go",
		old:  "	if c.ran.Swap(true) {",
		new:  "	if c.ran.Swap(true) && false {",
		pkg:  "./consumer", tests: "TestRunTwice",
	},
	{
		name: "library: a reader holds pages of any size",
		file: "sqlite/reader.go",
		old:  "for size := 0; size < readBytes && rows.Next(); {",
		new:  "for size := 0; rows.Next(); {",
		pkg:  "./sqlite", tests: "TestPagesOfAReaderAreBounded",
	},
	{
		name: "gerrit: 309 digits are taken for few",
		file: "gerrit/scan.go",
		old:  "(exponent || whole > 308)",
		new:  "(exponent || whole > 309)",
		pkg:  "./gerrit", tests: "TestHostile",
	},
}
