package webhook

import (
	"fmt"
	"time"
)

// take judges a result.
func (t *term) take(r result) {
	l, a := r.line, r.attempt
	l.sending = false
	t.window.sending--
	if a.Outcome != Delivered && t.sending.Err() != nil {
		return // this process ended it: the receiver may have the event or not
	}
	if t.d.config.Observer != nil {
		t.d.config.Observer.Attempted(t.d.hook.Name, a)
	}
	first := l.items[0]
	first.attempts++
	first.last = a
	t.report.attempted(a)
	switch a.Outcome {
	case Delivered:
		t.health.refused = 0
		t.finish(l)
		t.recovered(a)
	case Refused:
		t.refused(l, a)
	case Gone:
		t.gone = a
	default:
		if first.failedAt.IsZero() {
			t.health.events++
		}
		first.failedAt = a.Began.Add(a.Took)
		t.failed(a)
		t.giveUpOld(l)
	}
}

// finish is done with the first event of a line.
func (t *term) finish(l *line) {
	t.done = append(t.done, l.items[0].event.Number)
	t.window.pop(l)
}

// recovered notes that the receiver is well.
func (t *term) recovered(a *Attempt) {
	was := t.health.since
	if !t.health.ok(a) {
		return
	}
	t.window.receiverIsUp()
	t.report.urgent = true
	t.d.log.Info("webhook's receiver takes events again", "failed_since", was)
}

// failed notes a failure of the receiver.
func (t *term) failed(a *Attempt) {
	if t.health.failures == 0 {
		t.d.log.Warn("webhook's receiver fails; retrying", "to", t.d.hook.URL, "err", a.Err)
	}
	t.health.fail(a)
	t.report.urgent = true
	if t.isDown() {
		t.giveUpAllOld()
	}
}

// refused: the receiver is well and does not want this event. It is sent again
// a few times, because receivers are deployed with mistakes that are mended.
func (t *term) refused(l *line, a *Attempt) {
	first := l.items[0]
	if first.refusals++; first.refusals == 1 {
		t.health.refused++
	}
	l.wait = a.Began.Add(a.Took + backOff(first.refusals))
	if t.health.refused < manyRefused {
		t.recovered(a)
	} else {
		t.failed(a)
	}
	switch {
	case len(l.items) == 0 || l.items[0] != first: // given up already
	case first.refusals >= maxRefusals:
		t.giveUp(l)
	default:
		t.giveUpOld(l)
	}
}

// giveUpOld gives up the first event of a line if it is too old and was tried
// often enough here, however it was tried by other processes before.
func (t *term) giveUpOld(l *line) {
	if !l.sending && len(l.items) > 0 && l.items[0].attempts >= minAttempts && t.isOld(l.items[0]) {
		t.giveUp(l)
	}
}

func (t *term) isOld(i *item) bool { return time.Since(i.event.Queued) > t.d.hook.GiveUpAfter }

// isDown: the receiver has taken nothing for as long as events are kept for it,
// nor from this process, which has tried, and with more events than one, which
// it might not bear. Then old events are given up without an attempt each.
func (t *term) isDown() bool {
	h := &t.health
	return h.failures >= minAttempts && (h.events > 1 || h.refused >= manyRefused) &&
		time.Since(h.since) > t.d.hook.GiveUpAfter
}

func (t *term) giveUpAllOld() {
	for _, l := range t.window.lines {
		for !l.sending && len(l.items) > 0 && t.isOld(l.items[0]) && t.giveUp(l) {
		}
	}
}

// giveUp puts the first event of a line aside: the letter first, so that
// whatever dies, it is one or the other.
func (t *term) giveUp(l *line) bool {
	first := l.items[0]
	if t.storeFails() {
		l.wait = t.storeWait
		return false
	}
	detail := "the receiver fails"
	if last := first.last; last != nil && last.Err != nil {
		detail = last.Err.Error()
	} else if t.report.last.LastError != "" {
		detail = t.report.last.LastError
	}
	detail = fmt.Sprintf("%s, after %d attempts", detail, first.attempts)
	letter := Letter{Hook: t.d.hook.Name, Event: first.event, Detail: detail}
	if err := t.d.config.Store.PutAside(t.writing, letter); err != nil {
		t.storeFailed("put an event aside", err)
		l.wait = t.storeWait
		return false
	}
	id := first.event.Entry.ID
	t.report.gaveUp(id, detail)
	if t.d.config.Observer != nil {
		t.d.config.Observer.Attempted(t.d.hook.Name, &Attempt{
			Event: id, Arrived: first.event.Entry.Arrived, Outcome: GivenUp, Began: time.Now(),
		})
	}
	t.finish(l)
	if t.health.events <= 1 {
		t.health.until = time.Time{} // it may have been this event, and not the receiver
	}
	return true
}

// pause: the receiver wants no more. What is queued waits.
func (t *term) pause() error {
	t.d.log.Warn("webhook is paused: its receiver answered 410 Gone; resume it when the receiver is back",
		"to", t.d.hook.URL)
	p := Pause{Since: time.Now(), By: ByReceiver, Why: t.gone.Err.Error()}
	if err := t.d.config.Store.PauseHook(t.writing, t.d.hook.Name, p); err != nil {
		t.storeFailed("pause", err)
		t.health.fail(t.gone)
		t.gone = nil
		return nil
	}
	t.forget()
	return errPaused
}

// forget forgets since when the receiver fails: after a pause it is another
// failure.
func (t *term) forget() {
	t.health.since, t.report.urgent = time.Time{}, true
}
