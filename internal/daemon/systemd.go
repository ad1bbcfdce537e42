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
)

// systemd tells the service manager how the process does, if there is one: see
// sd_notify(3). Without $NOTIFY_SOCKET it does nothing.
type systemd struct {
	status func() gerritstream.Status
	alive  func() error // nil while nothing stands still for good
	log    *slog.Logger

	failing atomic.Bool // the last state could not be sent, and the log says so
}

// underSystemd reports whether a service manager waits to be told of readiness.
// Nobody then looks at the process as it starts, and a unit that is not to be
// restarted after a wrong configuration stays down.
func underSystemd() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// tell sends a state. States follow each other every few seconds; that they
// cannot be sent is logged when it begins.
func (s *systemd) tell(state string) {
	_, err := daemon.SdNotify(false, state)
	if failed := s.failing.Swap(err != nil); err != nil && !failed {
		s.log.Warn("systemd cannot be told", "err", err)
	}
}

// statusEvery is how old the status line may be.
const statusEvery = 2 * time.Second

// run keeps the status line fresh, and the watchdog if the service has one,
// until ctx ends.
func (s *systemd) run(ctx context.Context) {
	every, state := statusEvery, ""
	limit, err := daemon.SdWatchdogEnabled(false)
	switch {
	case err != nil:
		s.log.Warn("the watchdog's settings cannot be understood", "err", err)
	case limit > 0:
		every, state = min(limit/3, every), "\n"+daemon.SdNotifyWatchdog
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	said, dead := "", false
	for {
		status, beat := s.status(), state
		line := "STATUS=" + statusLine(&status)
		if err := s.alive(); err != nil { // the watchdog starts the process again
			line, beat = "STATUS=stands still: "+oneLine(err.Error()), ""
			if !dead {
				s.log.Error("the process stands still", "err", err)
			}
			dead = true
		} else {
			dead = false
		}
		if line != said || beat != "" {
			s.tell(line + beat)
			said = line
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// statusLine says in a line what the process does.
func statusLine(s *gerritstream.Status) string {
	if s.Trouble != "" {
		return "trouble: " + oneLine(s.Trouble)
	}
	if s.Listed.IsZero() {
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
		return line + fmt.Sprintf(", %d of them behind", s.Lagging)
	}
	return line
}
