package storetest

import (
	"bytes"
	"strings"

	"github.com/gerritstream/gerritstream"
)

var contentTests = []test{
	{"bytes of entries are kept exactly", func(f *fixture) {
		payloads := []string{
			`{}`,
			" {\"type\"\t:\r\n\"a\" } \n",
			`{"a":"\u003c\u003e\u0026\u003d\u0027 \/ \\ \" \b\f\n\r\t"}`,
			`{"a":1,"a":2.50,"b":-0.0,"c":1E+2,"d":123456789012345678901234567890}`,
			"{\"a\":\"\u2028 \ufeff \u00e9 e\u0301 \U0001F600 \u007f\"}",
			`{"nested":[[[[{"a":[null,true,false]}]]]]}`,
			`{"quote":"' \" -- ; ? % $1 {{}} "}`,
		}
		term := f.elect(f.state.Open(), shardA)
		var want []gerritstream.Entry
		for i, payload := range payloads {
			want = append(want, eventWith(shardA, i+1, []byte(payload)))
		}
		f.commit(term, gerritstream.Commit{Position: after(len(want)), Entries: want})
		f.queued(want...)
	}},
	{"bytes of dead letters are kept exactly, whatever they are", func(f *fixture) {
		part := deadLetter(shardA, 8)
		part.Sub = 17
		part.ID = gerritstream.NewEventID(stream, shardA, part.Seq, part.Sub)
		part.Detail = ""
		dead := []gerritstream.DeadLetter{
			deadLetter(shardA, 1), // every byte value
			deadLetterWith(shardA, 2, nil),
			deadLetterWith(shardA, 3, []byte{0}),
			deadLetterWith(shardA, 4, []byte("\xff\xfe\x00\x00' OR 1=1 --")),
			deadLetterWith(shardA, 5, bytes.Repeat([]byte{0xf3, 0x89, 0x9a, 0xc2}, 1000)),
			part,
		}
		term := f.elect(f.state.Open(), shardA)
		f.commit(term, gerritstream.Commit{Position: after(8), DeadLetters: dead})
		f.deadLettered(dead...)
	}},
	{"bytes belong to the caller again once the commit returned", func(f *fixture) {
		term := f.elect(f.state.Open(), shardA)
		page := step(shardA, 1, 5)
		page.DeadLetters = []gerritstream.DeadLetter{deadLetter(shardA, 6)}
		f.commit(term, page)
		for i := range page.Entries {
			clear(page.Entries[i].Payload)
		}
		clear(page.DeadLetters[0].Payload)
		f.queued(events(shardA, 1, 5)...)
		f.deadLettered(deadLetter(shardA, 6))
	}},
	{"limits admit a commit that fills them", func(f *fixture) {
		term := f.elect(f.state.Open(), shardA)
		limits := term.Limits()
		if limits.Items < 1 || limits.Weight < 1 {
			f.t.Fatalf("limits are %+v", limits)
		}
		var c gerritstream.Commit
		for n := range limits.Items {
			e := event(shardA, n)
			e.Payload = padded(limits.Weight/limits.Items - (e.Weight() - len(e.Payload)))
			c.Entries = append(c.Entries, e)
		}
		c.Position = after(limits.Items)
		f.commit(term, c)
		f.queued(c.Entries...)
	}},
	{"limits do not bind a single entry", func(f *fixture) {
		store := f.state.Open()
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 1))
		large := eventWith(shardA, 2, padded(5<<20))
		f.commit(term, gerritstream.Commit{Position: after(2), Entries: []gerritstream.Entry{large}})
		f.commit(term, step(shardA, 3, 3))
		f.stored(store, 0, shardA, new(after(3)))
		f.queued(event(shardA, 1), large, event(shardA, 3))
	}},
	{"limits do not bind a single dead letter", func(f *fixture) {
		term := f.elect(f.state.Open(), shardA)
		large := deadLetterWith(shardA, 1, bytes.Repeat([]byte("\x00\xff\n"), 1<<20))
		if len(large.Payload) != gerritstream.MaxDeadLetterBytes || large.Length != 3<<20 {
			f.t.Fatal("the suite's own dead letter is wrong")
		}
		f.commit(term, gerritstream.Commit{Position: after(1), DeadLetters: []gerritstream.DeadLetter{large}})
		f.deadLettered(large)
	}},
	{"dead letters are bounded, and the discarded ones are counted", func(f *fixture) {
		store := f.state.Open()
		term := f.elect(store, shardA)
		const extra = 7
		var want []gerritstream.DeadLetter
		n := 0
		for n < gerritstream.MaxDeadLetters+extra {
			var c gerritstream.Commit
			for range min(term.Limits().Items, gerritstream.MaxDeadLetters+extra-n) {
				n++
				c.DeadLetters = append(c.DeadLetters, deadLetterWith(shardA, n, []byte{byte(n)}))
			}
			want = append(want, c.DeadLetters...)
			c.Position = after(n)
			f.commit(term, c)
		}
		f.deadLettered(want[:gerritstream.MaxDeadLetters]...)
		f.stored(store, 0, shardA, new(after(n)))
		in := f.inspect(store)
		if in.DeadLetters != gerritstream.MaxDeadLetters || in.Discarded != extra {
			f.t.Errorf("%d dead letters held and %d discarded, want %d and %d",
				in.DeadLetters, in.Discarded, gerritstream.MaxDeadLetters, extra)
		}
	}},
}

// padded is a JSON object of at most size bytes, if that is enough for one.
func padded(size int) []byte {
	return []byte(`{"a":"` + strings.Repeat("x", max(0, size-len(`{"a":""}`))) + `"}`)
}
