package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// systemd notifies the service manager, if there is one, of the process' state:
// see sd_notify(3). Without $NOTIFY_SOCKET it does nothing.
type systemd struct {
	status func() gerritstream.Status
	alive  func() error // nil while nothing is stuck
	log    *slog.Logger

	failing atomic.Bool // the last state could not be sent, and the log has a line about it
}

// underSystemd reports whether a service manager waits to be notified. Nobody
// then watches the process start, and a unit that is not restarted after a
// wrong configuration stays down.
func underSystemd() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// notify sends a state. States follow each other every few seconds, so that
// only the first of several failures is logged.
func (s *systemd) notify(state string) {
	_, err := daemon.SdNotify(false, state)
	if failed := s.failing.Swap(err != nil); err != nil && !failed {
		s.log.Warn("cannot notify systemd", "err", err)
	}
}

// statusEvery is the age at which the status line is written again.
const statusEvery = 2 * time.Second

// run keeps the status line fresh, and the watchdog if the service has one,
// until ctx ends.
func (s *systemd) run(ctx context.Context) {
	every, feed := statusEvery, ""
	limit, err := daemon.SdWatchdogEnabled(false)
	switch {
	case err != nil:
		s.log.Warn("invalid watchdog settings", "err", err)
	case limit > 0:
		every, feed = min(limit/3, every), "\n"+daemon.SdNotifyWatchdog
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	sent, stalled := "", false
	for {
		status, watchdog := s.status(), feed
		line := "STATUS=" + statusLine(&status)
		err := s.alive()
		if err != nil { // without a sign of life the watchdog restarts the process
			line, watchdog = "STATUS=stalled: "+trouble.OneLine(err.Error()), ""
			if !stalled {
				s.log.Error("process stalled", "err", err)
			}
		}
		stalled = err != nil
		if line != sent || watchdog != "" {
			s.notify(line + watchdog)
			sent = line
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// statusLine sums up the process in a line.
func statusLine(s *gerritstream.Status) string {
	switch {
	case s.Trouble != "":
		return "trouble: " + trouble.OneLine(s.Trouble)
	case s.Listed.IsZero():
		return "listing the stream"
	}
	reading := 0
	for i := range s.Shards {
		if s.Shards[i].State == gerritstream.StateReading {
			reading++
		}
	}
	line := fmt.Sprintf("reading %d of %d shards", reading, len(s.Shards))
	if s.Lagging > 0 {
		line += fmt.Sprintf(", %d of them lagging", s.Lagging)
	}
	return line
}
