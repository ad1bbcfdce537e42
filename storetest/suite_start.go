package storetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

var startTests = []test{
	{"start record is absent at first", startAbsent},
	{"start record is returned as it was set", startRoundTrip},
	{"start record is created by one of many", startCreateRace},
	{"start record is not created over another", startCreateConflict},
	{"start record is changed only from what it was", startCompareAndSet},
	{"start record is changed by one of many", startChangeRace},
	{"start record of a newer version is refused", startNewer},
}

func firstStart() gerritstream.Origin {
	return gerritstream.Origin{Stream: stream, From: gerritstream.StartingPosition{Time: arrival(0)}}
}

// recreated is the start record after the n-th recreation of the stream.
func recreated(n int) gerritstream.Origin {
	s := firstStart()
	s.Epoch = n
	s.Stream.Created = s.Stream.Created.Add(time.Duration(n) * time.Hour)
	s.From = gerritstream.StartingPosition{TrimHorizon: true, Time: s.Stream.Created}
	s.Lost = []gerritstream.Interval{{From: arrival(1), Until: arrival(9), Why: "recreated"}}
	s.Retention, s.Trimmed = 24*time.Hour, arrival(2)
	return s
}

// hasStart checks the start record as a process reads it. nil: none.
func (f *fixture) hasStart(store gerritstream.Store, want *gerritstream.Origin) {
	f.Helper()
	got, ok, err := store.Origin(f.soon())
	if err != nil {
		f.Fatalf("start: %v", err)
	}
	if ok != (want != nil) || ok && !storekit.SameOrigin(&got, want) {
		f.Errorf("start record is %+v (%v), want %+v", got, ok, want)
	}
}

func (f *fixture) setStart(store gerritstream.Store, prev *gerritstream.Origin, next gerritstream.Origin) {
	f.Helper()
	if err := store.SetOrigin(f.soon(), prev, next); err != nil {
		f.Fatalf("set start: %v", err)
	}
}

func startAbsent(f *fixture) { f.hasStart(f.Open(), nil) }

func startRoundTrip(f *fixture) {
	first, second := firstStart(), recreated(1)
	writer, reader := f.Open(), f.Open()
	f.setStart(writer, nil, first)
	f.hasStart(reader, &first)
	read, _, err := reader.Origin(f.soon())
	if err != nil {
		f.Fatal(err)
	}
	f.setStart(reader, &read, second) // what was read serves as the condition
	f.hasStart(writer, &second)
	f.hasStart(f.Open(), &second)
}

func startCreateRace(f *fixture) {
	won := f.raceStart(nil, func(i int) gerritstream.Origin {
		s := firstStart()
		s.From.Time = arrival(i)
		return s
	})
	f.hasStart(f.Open(), &won)
}

func startChangeRace(f *fixture) {
	first := firstStart()
	f.setStart(f.Open(), nil, first)
	won := f.raceStart(&first, func(i int) gerritstream.Origin {
		s := recreated(1)
		s.Lost[0].Until = arrival(i)
		return s
	})
	f.hasStart(f.Open(), &won)
}

// raceStart has eight processes set the start record at once and returns what
// the one winner wrote.
func (f *fixture) raceStart(prev *gerritstream.Origin, next func(i int) gerritstream.Origin) gerritstream.Origin {
	f.Helper()
	const racers = 8
	errs := make([]error, racers)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		store := f.Open()
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
			f.Errorf("racer %d got %v, racer %d won", i, err, winner)
		}
	}
	if winner < 0 {
		f.Fatal("nobody won")
	}
	return next(winner)
}

func startCreateConflict(f *fixture) {
	first := firstStart()
	f.setStart(f.Open(), nil, first)
	other := f.Open()
	if err := other.SetOrigin(f.soon(), nil, recreated(0)); !errors.Is(err, gerritstream.ErrConflict) {
		f.Errorf("set start over another returned %v", err)
	}
	f.hasStart(other, &first)
}

func startCompareAndSet(f *fixture) {
	store := f.Open()
	first, wrong := firstStart(), recreated(7)
	if err := store.SetOrigin(f.soon(), &first, recreated(1)); !errors.Is(err, gerritstream.ErrConflict) {
		f.Errorf("change of an absent start record returned %v", err)
	}
	f.hasStart(store, nil)
	f.setStart(store, nil, first)
	if err := store.SetOrigin(f.soon(), &wrong, recreated(8)); !errors.Is(err, gerritstream.ErrConflict) {
		f.Errorf("change from what it was not returned %v", err)
	}
	f.hasStart(store, &first)
}

func startNewer(f *fixture) {
	f.setStart(f.Open(), nil, firstStart())
	f.WriteNewerOrigin()
	store := f.Open()
	if _, _, err := store.Origin(f.soon()); !errors.Is(err, gerritstream.ErrNewerFormat) {
		f.Errorf("start returned %v, want %v", err, gerritstream.ErrNewerFormat)
	}
	if err := store.SetOrigin(f.soon(), nil, firstStart()); err == nil {
		f.Error("a start record of a newer version was overwritten")
	}
}
