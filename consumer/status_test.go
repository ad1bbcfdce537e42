package consumer_test

import (
	"errors"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
)

// A process reports as it begins, and says since when each shard is in its
// state: by that, what is still settling is told from what stands still.
func TestTheStatusShowsSinceWhen(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.listErr = func() error { return errors.New("not yet") }
		began := time.Now()
		p := cl.start()
		time.Sleep(time.Millisecond)
		in, err := cl.memory.Inspect()
		if err != nil || len(in.Reports) != 1 || !in.Reports[0].Status.Began.Equal(began) ||
			!in.Reports[0].Status.Listed.IsZero() {
			t.Errorf("reports %+v, %v", in.Reports, err)
		}
		time.Sleep(time.Second)
		cl.stream.change(func() { cl.stream.listErr = nil })
		time.Sleep(time.Hour)
		is := p.Status().Shards[0]
		if is.State != gs.StateReading || time.Since(is.Since) < 59*time.Minute ||
			time.Since(is.Last.Page) > time.Second {
			t.Errorf("reading since %s, last page %s", is.Since, is.Last.Page)
		}
		again := time.Now()
		cl.memory.ExpireLeadership(s0)
		time.Sleep(time.Minute)
		if is = p.Status().Shards[0]; is.State != gs.StateReading || is.Since.Before(again) {
			t.Errorf("%s since %s, led again since %s", is.State, is.Since, again)
		}
		cl.stream.split(s0)
		ended := time.Now()
		time.Sleep(time.Minute)
		for _, s := range p.Status().Shards {
			if s.Since.Before(ended) {
				t.Errorf("%s %s since %s", s.Shard, s.State, s.Since)
			}
		}
	})
}
