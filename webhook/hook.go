package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream/queue"
)

// Format is the form of a request's body.
type Format string

// The formats.
const (
	Raw               Format = "raw"                // the payload as Gerrit made it
	CloudEvents       Format = "cloudevents"        // CloudEvents 1.0 in JSON, with the payload as data
	CloudEventsBinary Format = "cloudevents-binary" // the payload; attributes are headers
)

// Formats returns all formats.
func Formats() []Format { return []Format{Raw, CloudEvents, CloudEventsBinary} }

// Order chooses the key within which the order of events is kept.
type Order string

// The orders.
const (
	ByChange  Order = "change"  // project and change number; the ref for events without one
	ByProject Order = "project" // the project; events without one are in order among themselves
	ByShard   Order = "shard"   // the shard of the stream
	Unordered Order = "none"    // each event by itself
)

// Orders returns all orders.
func Orders() []Order { return []Order{ByChange, ByProject, ByShard, Unordered} }

// Bounds and defaults of a Hook.
const (
	DefaultConcurrency = 4
	MaxConcurrency     = 100
	DefaultTimeout     = 30 * time.Second
	MinTimeout         = time.Second
	MaxTimeout         = 5 * time.Minute
	DefaultGiveUpAfter = 72 * time.Hour
	MinGiveUpAfter     = time.Minute
)

// Hook is a receiver and how it gets events. However it is printed, its secrets
// are not.
type Hook struct {
	Name        string        // as queue.CheckWebhookName has it
	URL         URL           // https, or with AllowPrivate also http
	Secrets     []Secret      // each signs every request, the first one first; none: requests are not signed
	Format      Format        // default: Raw
	Filter      queue.Filter  // of the events that are delivered
	Order       Order         // default: ByChange
	Concurrency int           // requests under way at most; default: 4
	Timeout     time.Duration // of a request, from connecting to the end of its answer; default: 30 s
	GiveUpAfter time.Duration // since the event was queued; default: 72 h

	// AllowPrivate: the receiver may have an address that is not public, such
	// as a loopback or private one, and may be reached by http.
	AllowPrivate bool
}

// WithDefaults returns the hook with its defaults filled in.
func (h Hook) WithDefaults() Hook {
	h.Format = cmp.Or(h.Format, Raw)
	h.Order = cmp.Or(h.Order, ByChange)
	h.Concurrency = cmp.Or(h.Concurrency, DefaultConcurrency)
	h.Timeout = cmp.Or(h.Timeout, DefaultTimeout)
	h.GiveUpAfter = cmp.Or(h.GiveUpAfter, DefaultGiveUpAfter)
	return h
}

// Consumer is the name of the hook's consumer.
func (h *Hook) Consumer() string { return queue.WebhookConsumer(h.Name) }

// FieldError is a mistake in one field of a Hook.
type FieldError struct {
	Field string // name, url, secrets, format, filter, order, concurrency, timeout, give_up_after
	Err   error  // without a secret
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the mistake.
func (e *FieldError) Unwrap() error { return e.Err }

// Validate reports all mistakes, joined: a *FieldError each. Fields that are
// zero and have a default are right.
func (h Hook) Validate() error {
	h = h.WithDefaults()
	var errs []error
	check := func(field string, err error) {
		if err != nil {
			errs = append(errs, &FieldError{Field: field, Err: err})
		}
	}
	check("name", queue.CheckWebhookName(h.Name))
	check("url", h.checkURL())
	if slices.ContainsFunc(h.Secrets, Secret.isZero) {
		check("secrets", errors.New("one is empty"))
	}
	check("format", oneOf(h.Format, Formats()))
	_, err := h.Filter.Matcher()
	check("filter", err)
	check("order", oneOf(h.Order, Orders()))
	if h.Concurrency < 1 || h.Concurrency > MaxConcurrency {
		check("concurrency", fmt.Errorf("%d is not between 1 and %d", h.Concurrency, MaxConcurrency))
	}
	if h.Timeout < MinTimeout || h.Timeout > MaxTimeout {
		check("timeout", fmt.Errorf("%v is not between %v and %v", h.Timeout, MinTimeout, MaxTimeout))
	}
	if h.GiveUpAfter < MinGiveUpAfter {
		check("give_up_after", fmt.Errorf("%v is below the minimum of %v", h.GiveUpAfter, MinGiveUpAfter))
	}
	return errors.Join(errs...)
}

func oneOf[T ~string](value T, all []T) error {
	if slices.Contains(all, value) {
		return nil
	}
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = string(v)
	}
	return fmt.Errorf("%q is not one of %s", value, strings.Join(names, ", "))
}

// checkURL never repeats the URL: it may hold a secret.
func (h *Hook) checkURL() error {
	u, err := url.Parse(string(h.URL))
	switch {
	case h.URL == "":
		return errors.New("is missing")
	case err != nil:
		return errors.New("cannot be parsed")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("does not begin with https://")
	case u.Hostname() == "":
		return errors.New("has no host")
	case u.Fragment != "":
		return errors.New("has a fragment (#), which is never sent")
	case u.Scheme == "http" && !h.AllowPrivate:
		return errors.New("http sends events in the clear: use https, or set allow_private for a receiver in " +
			"your own network")
	}
	return nil
}
