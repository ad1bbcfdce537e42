package storekit_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Thousands of dead letters without room are one warning a minute, with their
// number and one of them; at level debug each has a line.
func TestDiscardsAreLoggedOnceAMinute(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			d := storekit.NewDiscards(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level})))
			d.Log(nil)
			discarded := make([]gerritstream.DeadLetter, 40)
			for i := range discarded {
				discarded[i] = gerritstream.DeadLetter{Shard: "shardId-7", Seq: "4711", Reason: "json",
					Payload: []byte("hunter2")}
			}
			for range 91 { // a minute and a half
				d.Log(discarded)
				time.Sleep(time.Second)
			}
			warned := strings.Count(log.String(), "level=WARN")
			if warned != 2 || !strings.Contains(log.String(), "count=40 ") ||
				!strings.Contains(log.String(), "count=2400 ") {
				t.Errorf("%d warnings:\n%.2000s", warned, &log)
			}
			each, want := strings.Count(log.String(), "level=DEBUG"), 0
			if level == slog.LevelDebug {
				want = 91 * len(discarded)
			}
			if each != want || !strings.Contains(log.String(), "seq=4711") ||
				strings.Contains(log.String(), "hunter2") {
				t.Errorf("%d lines of single dead letters, want %d", each, want)
			}
		})
	}
}
