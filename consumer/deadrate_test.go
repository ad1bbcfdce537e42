package consumer_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/trouble"
)

// A producer's wrong encoding makes every record a dead letter: that is a line
// in the log with a count and a sample, and a burst in the status until sound
// records come again. A bad record now and then is none.
func TestABurstOfDeadLettersIsLoggedOnce(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		put := func(n int, as string) {
			for i := range n {
				cl.stream.put(s0, fmt.Sprintf("%s %d", as, i))
			}
			time.Sleep(2 * time.Minute)
		}
		p := cl.start()
		burst := func() bool { return trouble.DeadLetterBurst(p.Status().DeadRate, time.Now()) != "" }
		put(9, "bad")
		if burst() {
			t.Errorf("nine are a burst: %+v", p.Status().DeadRate)
		}
		put(300, "good")
		if rate := p.Status().DeadRate; burst() || rate.Records != 200 || rate.Dead > 9 {
			t.Errorf("nine of three hundred are a burst: %+v", rate)
		}
		put(700, "bad")
		rate := p.Status().DeadRate
		if !burst() || rate.Dead < 190 || !strings.Contains(trouble.DeadLetterBurst(rate, time.Now()),
			"of the last 200 records became dead letters: test: it says so") {
			t.Errorf("no burst: %+v", rate)
		}
		put(20, "good")
		if !burst() {
			t.Errorf("over after twenty: %+v", p.Status().DeadRate)
		}
		time.Sleep(time.Hour)
		if burst() {
			t.Error("still a burst, an hour later")
		}
		put(30, "bad")
		put(2000, "good")
		if burst() {
			t.Errorf("a burst after thousands that are sound: %+v", p.Status().DeadRate)
		}
		lines := p.logged("records dead-lettered")
		if n := len(lines); n < 3 || n > 5 {
			t.Fatalf("%d lines:\n%s", n, strings.Join(lines, ""))
		}
		for _, want := range []string{"level=INFO", "shards=" + string(s0), "times=9", "reason=test",
			`detail="it says so"`, "seq="} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("%q is missing in %s", want, lines[0])
			}
		}
		if !strings.Contains(lines[1], "level=WARN") {
			t.Errorf("a burst is no warning: %s", lines[1])
		}
	})
}
