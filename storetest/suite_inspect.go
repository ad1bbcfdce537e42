package storetest

import (
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

var inspectTests = []test{
	{"inspection of an empty store", func(f *fixture) {
		in := f.inspect(f.state.Open())
		if in.Origin != nil || len(in.Shards) != 0 || len(in.Reports) != 0 || in.Queue != 0 || in.DeadLetters != 0 {
			f.t.Errorf("an empty store shows %+v", in)
		}
	}},
	{"inspection shows origin, leaders, positions and counts", func(f *fixture) {
		store, other := f.state.Open(), f.state.Open()
		origin, want := firstOrigin(), after(3)
		f.setOrigin(store, nil, origin)
		before := time.Now().Truncate(time.Millisecond)
		term := f.elect(store, shardA)
		c := step(shardA, 1, 2)
		c.Position, c.DeadLetters = want, []gerritstream.DeadLetter{deadLetter(shardA, 3)}
		f.commit(term, c)

		in := f.inspect(other)
		if !storekit.SameOrigin(in.Origin, &origin) {
			f.t.Errorf("origin is %+v, want %+v", in.Origin, origin)
		}
		if in.Queue != 2 || in.DeadLetters != 1 || in.Discarded != 0 || in.Expired != 0 {
			f.t.Errorf("counts are %d, %d, %d, %d, want 2, 1, 0, 0", in.Queue, in.DeadLetters, in.Discarded, in.Expired)
		}
		s := in.Shards[shardA]
		if s.Leader == "" || s.Term != term.Number() || s.Position == nil || !samePosition(*s.Position, want) {
			f.t.Errorf("shard is %+v", s)
		}
		if s.Committed.Before(before) || s.Committed.After(time.Now().Add(time.Second)) {
			f.t.Errorf("the commit was at %v, not after %v", s.Committed, before)
		}
		f.resign(term)
		if s := f.inspect(other).Shards[shardA]; s.Leader != "" || s.Term != term.Number() || s.Position == nil {
			f.t.Errorf("after the resignation the shard is %+v", s)
		}
	}},
	{"inspection shows the positions of the current epoch", func(f *fixture) {
		store := f.state.Open()
		f.setOrigin(store, nil, firstOrigin())
		f.leave(store, 0, shardA, after(9))
		f.setOrigin(store, new(firstOrigin()), recreated(1))
		if s := f.inspect(store).Shards[shardA]; s.Position != nil {
			f.t.Errorf("position of an earlier epoch is shown: %+v", s.Position)
		}
	}},
	{"inspection shows a damaged position as such", func(f *fixture) {
		store := f.state.Open()
		f.state.WritePosition(0, shardA, []byte("garbage"))
		if s := f.inspect(store).Shards[shardA]; s.Position == nil || s.Position.Unreadable == nil {
			f.t.Errorf("shard with a damaged position is %+v", s)
		}
	}},
	{"report is shown, replaced, and gone with its process", func(f *fixture) {
		reporter, reader := f.state.Open(), f.state.Open()
		status := gerritstream.Status{Process: "a process", Stream: stream, Lagging: 1}
		f.report(reporter, status)
		f.shows(reader, 1)
		status.Lagging = 2
		f.report(reporter, status)
		f.shows(reader, 2)

		f.state.Kill(reporter)
		deadline := f.soon()
		for len(f.inspect(reader).Reports) > 0 {
			timer := time.NewTimer(f.harness.Settle)
			select {
			case <-timer.C:
			case <-deadline.Done():
				f.t.Fatal("the report of a dead process was not removed")
			}
		}
	}},
	{"report that is damaged hides nothing else", func(f *fixture) {
		if f.state.DamageReport == nil {
			f.t.Skip("this store's reports cannot be damaged")
		}
		damaged, sound := f.state.Open(), f.state.Open()
		f.report(damaged, gerritstream.Status{Process: "damaged", Stream: stream, Lagging: 1})
		f.report(sound, gerritstream.Status{Process: "sound", Stream: stream, Lagging: 2})
		f.commit(f.elect(sound, shardA), step(shardA, 1, 1))
		f.state.DamageReport(damaged)
		f.shows(f.state.Open(), 2)
		if in := f.inspect(damaged); in.Queue != 1 || in.Shards[shardA].Leader == "" {
			f.t.Errorf("beside a damaged report there is %+v", in)
		}
	}},
}

func (f *fixture) inspect(store gerritstream.Store) gerritstream.Inspection {
	f.t.Helper()
	in, err := store.Inspect(f.soon())
	if err != nil {
		f.t.Fatalf("inspect: %v", err)
	}
	return in
}

func (f *fixture) report(store gerritstream.Store, status gerritstream.Status) {
	f.t.Helper()
	if err := store.Report(f.soon(), status); err != nil {
		f.t.Fatalf("report: %v", err)
	}
}

// shows checks that there is one report, with a number of lagging shards.
func (f *fixture) shows(store gerritstream.Store, lagging int) {
	f.t.Helper()
	reports := f.inspect(store).Reports
	if len(reports) != 1 || reports[0].Status.Lagging != lagging || reports[0].Process == "" ||
		reports[0].At.IsZero() || !reports[0].Status.Stream.Created.Equal(stream.Created) {
		f.t.Errorf("reports are %+v, want one with %d lagging shards", reports, lagging)
	}
}
