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
	{"origin is absent at first", func(f *fixture) { f.hasOrigin(f.state.Open(), nil) }},
	{"origin is returned as set", func(f *fixture) {
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
	}},
	{"origin is created by one of many", func(f *fixture) {
		won := f.raceOrigin(nil, func(i int) gerritstream.Origin {
			s := firstOrigin()
			s.From.Time = arrival(i)
			return s
		})
		f.hasOrigin(f.state.Open(), &won)
	}},
	{"origin is not created over another", func(f *fixture) {
		first := firstOrigin()
		f.setOrigin(f.state.Open(), nil, first)
		other := f.state.Open()
		f.returned("set origin over another", other.SetOrigin(f.soon(), nil, recreated(0)), gerritstream.ErrConflict)
		f.hasOrigin(other, &first)
	}},
	{"origin is changed only from its current value", func(f *fixture) {
		store := f.state.Open()
		first, wrong := firstOrigin(), recreated(7)
		err := store.SetOrigin(f.soon(), &first, recreated(1))
		f.returned("change of an absent origin", err, gerritstream.ErrConflict)
		f.hasOrigin(store, nil)
		f.setOrigin(store, nil, first)
		err = store.SetOrigin(f.soon(), &wrong, recreated(8))
		f.returned("change from another value", err, gerritstream.ErrConflict)
		f.hasOrigin(store, &first)
	}},
	{"origin is changed by one of many", func(f *fixture) {
		first := firstOrigin()
		f.setOrigin(f.state.Open(), nil, first)
		won := f.raceOrigin(&first, func(i int) gerritstream.Origin {
			s := recreated(1)
			s.Lost[0].Until = arrival(i)
			return s
		})
		f.hasOrigin(f.state.Open(), &won)
	}},
	{"origin of a newer version is refused", func(f *fixture) {
		f.setOrigin(f.state.Open(), nil, firstOrigin())
		f.state.WriteNewerOrigin()
		store := f.state.Open()
		if _, _, err := store.Origin(f.soon()); !errors.Is(err, gerritstream.ErrNewerFormat) {
			f.t.Errorf("origin returned %v, want %v", err, gerritstream.ErrNewerFormat)
		}
		if err := store.SetOrigin(f.soon(), nil, firstOrigin()); err == nil {
			f.t.Error("an origin of a newer version was overwritten")
		}
	}},
}

func firstOrigin() gerritstream.Origin {
	return gerritstream.Origin{Stream: stream, From: gerritstream.StartingPosition{Time: arrival(0)}}
}

// recreated is the origin after the n-th recreation of the stream.
func recreated(n int) gerritstream.Origin {
	s := firstOrigin()
	s.Epoch = n
	s.Stream.Created = s.Stream.Created.Add(time.Duration(n) * time.Hour)
	s.From = gerritstream.StartingPosition{TrimHorizon: true, Time: s.Stream.Created}
	s.Lost = []gerritstream.Interval{{From: arrival(1), Until: arrival(9), Why: "recreated"}}
	s.Retention, s.Trimmed = 24*time.Hour, arrival(2)
	return s
}

// hasOrigin checks the origin as a process reads it; nil: none.
func (f *fixture) hasOrigin(store gerritstream.Store, want *gerritstream.Origin) {
	f.t.Helper()
	got, ok, err := store.Origin(f.soon())
	if err != nil {
		f.t.Fatalf("origin: %v", err)
	}
	if ok != (want != nil) || ok && !storekit.SameOrigin(&got, want) {
		f.t.Errorf("origin is %+v (%v), want %+v", got, ok, want)
	}
}

func (f *fixture) setOrigin(store gerritstream.Store, prev *gerritstream.Origin, next gerritstream.Origin) {
	f.t.Helper()
	if err := store.SetOrigin(f.soon(), prev, next); err != nil {
		f.t.Fatalf("set origin: %v", err)
	}
}

// raceOrigin has eight processes set the origin at once and returns what the
// winner wrote.
func (f *fixture) raceOrigin(prev *gerritstream.Origin, next func(i int) gerritstream.Origin) gerritstream.Origin {
	f.t.Helper()
	var errs [8]error
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range errs {
		store := f.state.Open()
		wg.Go(func() {
			<-begin
			errs[i] = store.SetOrigin(f.soon(), prev, next(i))
		})
	}
	close(begin)
	wg.Wait()
	winner := slices.Index(errs[:], nil)
	for i, err := range errs {
		if i != winner && !errors.Is(err, gerritstream.ErrConflict) {
			f.t.Errorf("racer %d got %v, racer %d won", i, err, winner)
		}
	}
	if winner < 0 {
		f.t.Fatal("no process won")
	}
	return next(winner)
}
