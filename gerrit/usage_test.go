package gerrit_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gerritstream/gerritstream/gerrit"
)

func TestUsage(t *testing.T) {
	f, err := gerrit.NewFilter(gerrit.FilterConfig{
		Types:    []string{"comment-added", " patchset-created", "ref-*", "^project-"},
		Projects: []string{"example/*", "exampel/widgets", "^.*/docs$"},
		Refs:     []string{"refs/heads/main", "main"},
	})
	if err != nil {
		t.Fatal(err)
	}
	u := f.Usage(4)
	for _, e := range []gerrit.Event{
		event("comment-added", "example/widgets", "refs/heads/main"),
		event("patchset-created", "example/docs", "refs/heads/next"),
		event("ref-updated", "", ""),
	} {
		if got := u.See(&e); got != nil {
			t.Fatalf("before the last: %v", got)
		}
	}
	e := event("x", "", "")
	want := []gerrit.Entry{
		{"types", " patchset-created"}, {"types", "^project-"}, {"projects", "exampel/widgets"}, {"refs", "main"}}
	if got := u.See(&e); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := u.See(&e); got != nil {
		t.Errorf("a second time: %v", got)
	}
	all, err := gerrit.NewFilter(gerrit.FilterConfig{})
	if err != nil || all.Usage(4) != nil {
		t.Errorf("there is something to look at in a filter without entries: %v", err)
	}
}

// TestUsageOfSeveral: the entries are returned once, by whichever goroutine
// sees the last event.
func TestUsageOfSeveral(t *testing.T) {
	f, err := gerrit.NewFilter(gerrit.FilterConfig{Types: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	u := f.Usage(1000)
	var returned atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			e := event("a", "", "")
			for range 500 {
				if got := u.See(&e); got != nil {
					returned.Add(int64(len(got)))
				}
			}
		})
	}
	all.Wait()
	if returned.Load() != 1 {
		t.Errorf("returned %d entries, want b once", returned.Load())
	}
}
