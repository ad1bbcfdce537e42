package storetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

var originTests = []test{
	{"start record is absent at first", startAbsent},
	{"start record is returned as it was set", startRoundTrip},
	{"start record is created by one of many", startCreateRace},
	{"start record is not created over another", startCreateConflict},
	{"start record is changed only from what it was", startCompareAndSet},
	{"start record is changed by one of many", startChangeRace},
	{"start record of a newer version is refused", startNewer},
}

func firstOrigin() gerritstream.Origin {
	return gerritstream.Origin{Stream: stream, From: gerritstream.StartingPosition{Time: arrival(0)}}
}

// recreated is the start record after the n-th recreation of the stream.
func recreated(n int) gerritstream.Origin {
	s := firstOrigin()
	s.Epoch = n
	s.Stream.Created = s.Stream.Created.Add(time.Duration(n) * time.Hour)
	s.From = gerritstream.StartingPosition{TrimHorizon: true, Time: s.Stream.Created}
	s.Lost = []gerritstream.Interval{{From: arrival(1), Until: arrival(9), Why: "recreated"}}
	s.Retention, s.Trimmed = 24*time.Hour, arrival(2)
	return s
}

// hasStart checks the start record as a process reads it. nil: none.
func (f *fixture) hasOrigin(store gerritstream.Store, want *gerritstream.Origin) {
	f.t.Helper()
	got, ok, err := store.Origin(f.soon())
	if err != nil {
		f.t.Fatalf("start: %v", err)
	}
	if ok != (want != nil) || ok && !storekit.SameOrigin(&got, want) {
		f.t.Errorf("start record is %+v (%v), want %+v", got, ok, want)
	}
}

func (f *fixture) setOrigin(store gerritstream.Store, prev *gerritstream.Origin, next gerritstream.Origin) {
	f.t.Helper()
	if err := store.SetOrigin(f.soon(), prev, next); err != nil {
		f.t.Fatalf("set start: %v", err)
	}
}

func startAbsent(f *fixture) { f.hasOrigin(f.state.Open(), nil) }

func startRoundTrip(f *fixture) {
	first, second := firstOrigin(), recreated(1)
	writer, reader := f.state.Open(), f.state.Open()
	f.setOrigin(writer, nil, first)
	f.hasOrigin(reader, &first)
	read, _, err := reader.Origin(f.soon())
	if err != nil {
		f.t.Fatal(err)
	}
	f.setOrigin(reader, &read, second) // what was read serves as the condition
	f.hasOrigin(writer, &second)
	f.hasOrigin(f.state.Open(), &second)
}

func startCreateRace(f *fixture) {
	won := f.raceOrigin(nil, func(i int) gerritstream.Origin {
		s := firstOrigin()
		s.From.Time = arrival(i)
		return s
	})
	f.hasOrigin(f.state.Open(), &won)
}

func startChangeRace(f *fixture) {
	first := firstOrigin()
	f.setOrigin(f.state.Open(), nil, first)
	won := f.raceOrigin(&first, func(i int) gerritstream.Origin {
		s := recreated(1)
		s.Lost[0].Until = arrival(i)
		return s
	})
	f.hasOrigin(f.state.Open(), &won)
}

// raceStart has eight processes set the start record at once and returns what
// the one winner wrote.
func (f *fixture) raceOrigin(prev *gerritstream.Origin, next func(i int) gerritstream.Origin) gerritstream.Origin {
	f.t.Helper()
	const racers = 8
	errs := make([]error, racers)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		store := f.state.Open()
		wg.Go(func() {
			<-begin
			errs[i] = store.SetOrigin(f.soon(), prev, next(i))
		})
	}
	close(begin)
	wg.Wait()
	winner := slices.Index(errs, nil)
	for i, err := range errs {
		if i != winner && !errors.Is(err, gerritstream.ErrConflict) {
			f.t.Errorf("racer %d got %v, racer %d won", i, err, winner)
		}
	}
	if winner < 0 {
		f.t.Fatal("nobody won")
	}
	return next(winner)
}

func startCreateConflict(f *fixture) {
	first := firstOrigin()
	f.setOrigin(f.state.Open(), nil, first)
	other := f.state.Open()
	if err := other.SetOrigin(f.soon(), nil, recreated(0)); !errors.Is(err, gerritstream.ErrConflict) {
		f.t.Errorf("set start over another returned %v", err)
	}
	f.hasOrigin(other, &first)
}

func startCompareAndSet(f *fixture) {
	store := f.state.Open()
	first, wrong := firstOrigin(), recreated(7)
	if err := store.SetOrigin(f.soon(), &first, recreated(1)); !errors.Is(err, gerritstream.ErrConflict) {
		f.t.Errorf("change of an absent start record returned %v", err)
	}
	f.hasOrigin(store, nil)
	f.setOrigin(store, nil, first)
	if err := store.SetOrigin(f.soon(), &wrong, recreated(8)); !errors.Is(err, gerritstream.ErrConflict) {
		f.t.Errorf("change from what it was not returned %v", err)
	}
	f.hasOrigin(store, &first)
}

func startNewer(f *fixture) {
	f.setOrigin(f.state.Open(), nil, firstOrigin())
	f.state.WriteNewerOrigin()
	store := f.state.Open()
	if _, _, err := store.Origin(f.soon()); !errors.Is(err, gerritstream.ErrNewerFormat) {
		f.t.Errorf("start returned %v, want %v", err, gerritstream.ErrNewerFormat)
	}
	if err := store.SetOrigin(f.soon(), nil, firstOrigin()); err == nil {
		f.t.Error("a start record of a newer version was overwritten")
	}
}
