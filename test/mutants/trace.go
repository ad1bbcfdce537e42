package main

// traceMutants are the breaks of the spans of commits and of what carries them.
var traceMutants = []mutant{
	{
		name: "trace: the attribute weighs nothing",
		file: "consumer/commit.go",
		old:  "		weight += spanWeight\n",
		new:  "",
		pkg:  "./consumer", tests: "TestASpanIsWithinTheLimits",
	},
	{
		name: "trace: a span that nobody keeps is carried",
		file: "consumer/trace.go",
		old:  "	if value == \"\" {\n",
		new:  "	if len(entries) == 0 {\n",
		pkg:  "./consumer", tests: "TestAnEntryCarriesItsOwnSpanOrNone",
	},
	{
		name: "trace: an entry's own span is overwritten",
		file: "consumer/trace.go",
		old:  "		case given:\n",
		new:  "		case given && len(e.Attributes) > 1:\n",
		pkg:  "./consumer", tests: "TestAnEntryCarriesItsOwnSpanOrNone",
	},
	{
		name: "trace: the map of the Classifier is changed",
		file: "consumer/trace.go",
		old:  "			e.Attributes = maps.Clone(e.Attributes)\n",
		new:  "			_ = maps.Clone(e.Attributes)\n",
		pkg:  "./consumer", tests: "TestAnEntryCarriesItsOwnSpanOrNone",
	},
	{
		name: "trace: a commit whose reply was lost counts as not written",
		file: "consumer/commit.go",
		old:  "		span.became(Unknown)\n",
		new:  "",
		pkg:  "./consumer", tests: "TestEveryEntryCarriesTheSpanOfItsCommit",
	},
	{
		name: "trace: the span begins after the sinks",
		file: "consumer/commit.go",
		old:  "	span := r.startSpan(c.Entries)\n	err := r.deliverAndStore(&c, span)\n",
		new: "	if _, err := r.deliver(c.Entries); err != nil {\n		return err\n	}\n" +
			"	span := r.startSpan(c.Entries)\n	err := r.deliverAndStore(&c, span)\n",
		pkg: "./consumer", tests: "TestASpanBeginsBeforeTheSinks",
	},
	{
		name: "trace: a trace_id is without its zeros",
		file: "zookeeper/envelope.go",
		old:  "		b = append(b, '0')\n",
		new:  "		break\n",
		pkg:  "./zookeeper", tests: "TestEnvelopeOfASpan|TestPythonWritesTheSameEnvelope",
	},
	{
		name: "trace: Zuul links to a span that nobody keeps",
		file: "zookeeper/envelope.go",
		old:  "	if !ok || !span.Sampled() {",
		new:  "	if !ok {",
		pkg:  "./zookeeper", tests: "TestEnvelopeOfASpan",
	},
	{
		name: "trace: a trace_id has 64 bits",
		file: "zookeeper/envelope.go",
		old:  "	if high == 0 {\n",
		new:  "	if high <= 1<<63 {\n",
		pkg:  "./zookeeper", tests: "TestEnvelopeOfASpan|TestPythonWritesTheSameEnvelope",
	},
	{
		name: "trace: a receiver gets as a header whatever the attribute is",
		file: "webhook/send.go",
		old:  "		header.Set(headerTraceparent, span.String())\n	}",
		new: "		header.Set(headerTraceparent, span.String())\n	} else {\n" +
			"		header.Set(headerTraceparent, e.Entry.Event.Attributes[traceparent.Attribute])\n	}",
		pkg: "./webhook", tests: "TestATraceGoesOn",
	},
}
