package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

// The watchdog is fed while everything goes on, and not once something has
// stalled: systemd then restarts the process.
func TestWatchdogIsFedOnlyWhileEverythingGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "60000")
	t.Setenv("WATCHDOG_PID", "")
	var asked atomic.Int64
	var dead atomic.Bool
	var log bytes.Buffer
	s := &systemd{
		status: func() gerritstream.Status { return gerritstream.Status{Trouble: fmt.Sprint(asked.Add(1))} },
		alive: func() error {
			if dead.Load() {
				return fmt.Errorf("planning stalled for %d", asked.Load())
			}
			return nil
		},
		log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	if err := manager.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	next := func() string {
		b := make([]byte, 1000)
		n, err := manager.Read(b)
		if err != nil {
			t.Error(err)
			cancel()
		}
		return string(b[:n])
	}
	for range 3 {
		if got := next(); !strings.HasPrefix(got, "STATUS=trouble: ") || !strings.HasSuffix(got, "\nWATCHDOG=1") {
			t.Errorf("got %q", got)
		}
	}
	dead.Store(true)
	for !strings.HasPrefix(next(), "STATUS=stalled: planning") && ctx.Err() == nil {
	}
	for range 3 {
		if got := next(); strings.Contains(got, "WATCHDOG") || !strings.HasPrefix(got, "STATUS=stalled: planning") {
			t.Errorf("got %q", got)
		}
	}
	dead.Store(false)
	for !strings.HasSuffix(next(), "\nWATCHDOG=1") && ctx.Err() == nil {
	}
	cancel()
	running.Wait()
	if n := strings.Count(log.String(), "process stalled"); n != 1 || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("%d lines in the log:\n%s", n, &log)
	}
}

func TestStatusLine(t *testing.T) {
	shards := []gerritstream.ShardStatus{{State: gerritstream.StateReading}, {State: gerritstream.StateStandby}}
	listed := time.Unix(1, 0)
	for want, s := range map[string]gerritstream.Status{
		"listing the stream":                       {},
		"trouble: a b":                             {Listed: listed, Trouble: "a\nb"},
		"reading 1 of 2 shards":                    {Listed: listed, Shards: shards},
		"reading 1 of 2 shards, 1 of them lagging": {Listed: listed, Shards: shards, Lagging: 1},
	} {
		if got := statusLine(&s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestSystemdThatCannotBeNotifiedIsLoggedOnce: each time when that begins, not
// with each state.
func TestSystemdThatCannotBeNotifiedIsLoggedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", path)
	var log bytes.Buffer
	s := &systemd{log: slog.New(slog.NewTextHandler(&log, nil))}
	notify := func(want int) {
		t.Helper()
		s.notify("STATUS=a")
		s.notify("STATUS=b")
		if n := strings.Count(log.String(), "cannot notify systemd"); n != want {
			t.Errorf("%d lines, want %d: %s", n, want, &log)
		}
	}
	notify(1)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	notify(1)
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	notify(2)
}
