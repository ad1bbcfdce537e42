package webhook

import (
	"context"
	"time"
)

// report is what is to be reported of a hook. The goroutine of a term owns it.
type report struct {
	last    Report
	dirty   bool
	urgent  bool
	written time.Time
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
func (t *term) writeReport(ctx context.Context, now bool) {
	r := &t.report
	if !r.urgent && !(r.dirty && (now || time.Since(r.written) >= reportEvery)) {
		return
	}
	r.last.FailingSince, r.last.NextAttempt = t.health.since, t.health.next()
	r.last.Blocked = t.window.blocked()
	r.dirty, r.urgent, r.written = false, false, time.Now()
	if err := t.d.config.Store.ReportHook(context.WithoutCancel(ctx), t.d.hook.Name, r.last); err != nil {
		t.d.log.Debug("webhook cannot report", "err", err)
	}
}
