package webhook

import (
	"time"

	"github.com/gerritstream/gerritstream"
)

// report is what is to be reported of a hook. The goroutine of a term owns it.
type report struct {
	last    Report
	dirty   bool
	urgent  bool
	written time.Time

	givenUp int       // events, and not logged yet
	lastUp  string    // the last of them
	whyUp   string    // likewise
	logged  time.Time // when some were
}

// gaveUp notes that an event was put aside.
func (r *report) gaveUp(id gerritstream.EventID, why string) {
	r.givenUp++
	r.lastUp, r.whyUp = id.String(), why
}

// logGivenUp logs what was given up, at most once a minute.
func (t *term) logGivenUp(now bool) {
	r := &t.report
	if r.givenUp > 0 && (now || time.Since(r.logged) >= time.Minute) {
		t.d.log.Warn("webhook gave events up; they are dead letters", "events", r.givenUp, "last", r.lastUp,
			"why", r.whyUp)
		r.givenUp, r.logged = 0, time.Now()
	}
}

// attempted notes an attempt.
func (r *report) attempted(a *Attempt) {
	r.dirty = true
	r.last.Last, r.last.LastAt, r.last.LastStatus = a.Outcome, a.Began.Add(a.Took), a.Status
	r.last.LastEvent, r.last.LastError = a.Event.String(), ""
	if a.Err != nil {
		r.last.LastError = a.Err.Error()
	}
	r.last.Failures++
	if a.Outcome == Delivered {
		r.last.Failures = 0
	}
}

// writeReport writes the report when it is due. Nothing depends on it but what
// people see, and for how long the receiver has failed: an error is not
// repeated before the next one is due.
func (t *term) writeReport(now bool) {
	t.logGivenUp(now)
	r := &t.report
	due := r.urgent || r.dirty && (now || time.Since(r.written) >= reportEvery)
	if !due && r.last.Blocked == 0 {
		return
	}
	blocked := t.window.blocked()
	if !due && blocked > 0 { // else "refusing" is over
		return
	}
	r.last.FailingSince, r.last.NextAttempt = t.health.since, t.health.next()
	r.last.Blocked = blocked
	r.dirty, r.urgent, r.written = false, false, time.Now()
	if err := t.d.config.Store.ReportHook(t.writing, t.d.hook.Name, r.last); err != nil {
		t.d.log.Debug("webhook cannot report", "err", err)
	}
}
