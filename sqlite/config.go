package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// Config configures a Store. Only Path must be given.
type Config struct {
	// Path of the database file. If it or its folder is missing, it is made and
	// the log notes it; the folder's own folder is not.
	Path string

	// GroupAccess lets the group of the file's folder read the queue: the
	// folder is made with mode 2770, and the files have 0660, instead of 0700
	// and 0600. They must be writable, for SQLite needs that even to read.
	GroupAccess bool

	// Process is what others call this process, in Inspect and in logs. Empty:
	// host name and process id.
	Process string

	// Retention is how long events are kept after they arrived or were queued,
	// whichever is later, by the service's clock as commits reveal it. Zero:
	// DefaultRetention. Negative: for ever.
	Retention time.Duration

	// RetentionMax is how long events are kept, counted in the same way, that a
	// consumer has not acknowledged: at least Retention. What is removed then
	// is counted for the consumer. Zero: DefaultRetentionMax.
	RetentionMax time.Duration

	// RetentionMaxBytes is the size of the file beyond which events are not
	// kept longer than Retention for any consumer. Zero:
	// DefaultRetentionMaxBytes.
	RetentionMaxBytes int64

	// LeaseTTL is how long a process that died keeps its leaderships. If it is
	// shorter than a busy machine may pause a process, leaderships move without
	// need. Zero: DefaultLeaseTTL. At least 100 ms.
	LeaseTTL time.Duration

	// PollOnly makes the store look four times a second for what other
	// processes write, and nothing else. Otherwise, on Linux, inotify wakes it
	// as well, and a hand-over takes that much less. For tests within
	// testing/synctest bubbles: to wait for the kernel stops their clock.
	PollOnly bool

	// Logger gets what an operator should know. nil: nothing is logged.
	Logger *slog.Logger

	// Now is the local clock: it dates commits, heartbeats and reports, for
	// people. nil: time.Now. It decides no lease, and nothing is removed while
	// it differs from the service's by more than an hour.
	Now func() time.Time
}

// What a Config's zero values mean.
const (
	DefaultRetention         = 7 * 24 * time.Hour
	DefaultRetentionMax      = 30 * 24 * time.Hour
	DefaultRetentionMaxBytes = 16 << 30
	DefaultLeaseTTL          = 5 * time.Second
)

// minLeaseTTL is the least for which heartbeats through a disk may keep up.
const minLeaseTTL = 100 * time.Millisecond

// complete checks the configuration and fills in what was left out.
func (c *Config) complete() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("no path given"))
	}
	if c.Retention == 0 {
		c.Retention = DefaultRetention
	}
	if c.RetentionMax == 0 {
		c.RetentionMax = DefaultRetentionMax
	}
	c.RetentionMax = max(c.RetentionMax, c.Retention)
	if c.RetentionMaxBytes == 0 {
		c.RetentionMaxBytes = DefaultRetentionMaxBytes
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = DefaultLeaseTTL
	}
	if c.LeaseTTL < minLeaseTTL {
		errs = append(errs, fmt.Errorf("lease TTL %v is below %v", c.LeaseTTL, minLeaseTTL))
	}
	if c.Process == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		c.Process = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}
