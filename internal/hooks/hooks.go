// Package hooks puts together what is known of webhooks, for people: what a
// store keeps of them and of their consumers, with what is wrong first.
package hooks

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// State is how a webhook does, in a word or two.
type State string

// The states, the worst first.
const (
	Gone     State = "gone"         // the receiver answered 410 and gets nothing any more
	Failing  State = "failing"      // the receiver fails; what is queued waits
	Unserved State = "nobody sends" // events wait, and no process delivers
	Refusing State = "refusing"     // some events were refused and hold up those with their keys
	Paused   State = "paused"       // by an operator
	Idle     State = "not begun"    // no process has delivered for it yet
	Fine     State = "delivering"
)

var states = []State{Gone, Failing, Unserved, Refusing, Paused, Idle, Fine}

// View is what is known of a webhook.
type View struct {
	Name   string    `json:"name"`
	State  State     `json:"state"`
	Since  time.Time `json:"since,omitzero"` // when the state began; zero: not known
	To     string    `json:"to,omitempty"`   // scheme and host of the receiver; empty: not known here
	Reader string    `json:"reader"`         // the process that delivers; empty: none

	Pending     int64     `json:"pending"` // events that wait
	Oldest      time.Time `json:"oldest,omitzero"`
	DeadLetters int64     `json:"dead_letters"` // held
	GivenUp     int64     `json:"given_up"`     // ever
	Expired     int64     `json:"expired"`      // that were removed before they were delivered
	ExpiredFrom time.Time `json:"expired_from,omitzero"`
	ExpiredTo   time.Time `json:"expired_to,omitzero"`

	Fault  string         `json:"fault,omitempty"` // of its place in the queue, as in queue.Info
	Pause  webhook.Pause  `json:"pause,omitzero"`
	Report webhook.Report `json:"report,omitzero"`
}

// Known is what there is to make views from.
type Known struct {
	States    []webhook.State
	Consumers []queue.Info      // those of others than webhooks are left out
	Receivers map[string]string // by name, of the webhooks in the settings: scheme and host
}

// Views returns the webhooks, the worst first.
func (k *Known) Views(now time.Time) []View {
	views := map[string]*View{}
	of := func(name string) *View {
		if views[name] == nil {
			views[name] = &View{Name: name, To: k.Receivers[name]}
		}
		return views[name]
	}
	for name := range k.Receivers {
		of(name)
	}
	begun := map[string]bool{}
	for _, s := range k.States {
		v := of(s.Name)
		v.Pause, v.Report, v.DeadLetters, v.GivenUp = s.Pause, s.Report, s.DeadLetters, s.GivenUp
	}
	for i := range k.Consumers {
		c := &k.Consumers[i]
		if name, ok := queue.WebhookOf(c.Name); ok {
			v := of(name)
			v.Pending, v.Oldest, v.Reader, v.Fault = c.Pending, c.Oldest, c.Reader, c.Fault
			v.Expired, v.ExpiredFrom, v.ExpiredTo = c.Expired, c.ExpiredFrom, c.ExpiredTo
			begun[name] = true
		}
	}
	all := make([]View, 0, len(views))
	for name, v := range views {
		v.State, v.Since = v.judge(begun[name], now)
		all = append(all, *v)
	}
	slices.SortFunc(all, func(a, b View) int {
		return cmp.Or(cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State)),
			cmp.Compare(a.Name, b.Name))
	})
	return all
}

// handOver is how long a webhook may be nobody's while one process takes over
// from another.
const handOver = time.Minute

func (v *View) judge(begun bool, now time.Time) (State, time.Time) {
	paused := !v.Pause.Since.IsZero()
	switch {
	case paused && v.Pause.By == webhook.ByReceiver:
		return Gone, v.Pause.Since
	case paused:
		return Paused, v.Pause.Since
	case !begun:
		return Idle, time.Time{}
	case v.Reader == "" && v.Pending > 0 && now.Sub(v.Oldest) > handOver:
		return Unserved, time.Time{}
	case !v.Report.FailingSince.IsZero():
		return Failing, v.Report.FailingSince
	case v.Report.Blocked > 0:
		return Refusing, time.Time{}
	}
	return Fine, time.Time{}
}

// Wrong reports whether the state is one to look at.
func (v *View) Wrong() bool {
	return v.State == Gone || v.State == Failing || v.State == Unserved || v.State == Refusing
}

// Text says in a line how the webhook does.
func (v *View) Text(now time.Time) string {
	text := string(v.State)
	if !v.Since.IsZero() {
		text += " for " + when.Span(now.Sub(v.Since))
	}
	switch v.State {
	case Failing:
		text += v.failure(now)
	case Refusing:
		text += fmt.Sprintf(": %s", v.blocked())
	case Gone, Paused:
		if v.Pause.Why != "" {
			text += ": " + v.Pause.Why
		}
	}
	if v.Pending > 0 {
		text += "; " + v.waiting(now)
	} else {
		text += "; nothing waits"
	}
	if v.DeadLetters > 0 {
		text += fmt.Sprintf("; dead letters: %d", v.DeadLetters)
	}
	return text
}

// failure says how often the receiver has failed, how, and when it is tried
// again.
func (v *View) failure(now time.Time) string {
	r := &v.Report
	text := fmt.Sprintf(" (%d failed)", r.Failures)
	if r.LastError != "" {
		text += ": " + r.LastError
	}
	if r.NextAttempt.After(now) {
		text += "; next attempt in " + when.Span(r.NextAttempt.Sub(now))
	}
	return text
}

func (v *View) blocked() string {
	if v.Report.Blocked == 1 {
		return "one event was refused and holds up those with its key"
	}
	return fmt.Sprintf("%d events were refused and hold up those with their keys", v.Report.Blocked)
}

// What is no trouble before it has lasted.
const (
	failingLong = 5 * time.Minute
	pausedLong  = 24 * time.Hour // an operator's pause, forgotten
)

// Trouble returns what an operator should look at; "": nothing. What was lost
// is reported with the consumer.
func (v *View) Trouble(now time.Time) string {
	lasts := now.Sub(v.Since)
	switch {
	case v.Fault != "":
		return "its place in the queue cannot be used: " + v.Fault
	case v.State == Gone:
		return "the receiver answered 410 Gone " + when.Distance(v.Since, now) +
			" and gets nothing any more; `webhook resume` begins again"
	case v.State == Unserved:
		return "no process delivers; " + v.waiting(now)
	case v.State == Failing && lasts >= failingLong:
		return "its receiver has failed for " + when.Span(lasts) + v.failure(now)
	case v.State == Paused && lasts >= pausedLong && v.Pending > 0:
		return fmt.Sprintf("it has been paused for %s; %s", when.Span(lasts), v.waiting(now))
	}
	return ""
}

// waiting says how much waits.
func (v *View) waiting(now time.Time) string {
	if v.Pending == 1 {
		return "one event waits, for " + when.Span(now.Sub(v.Oldest))
	}
	return fmt.Sprintf("%d events wait, the oldest for %s", v.Pending, when.Span(now.Sub(v.Oldest)))
}
