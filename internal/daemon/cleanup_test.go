package daemon

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCleanup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		var c cleanup
		note := func(name string, err error) {
			c.add(name, func() error {
				order = append(order, name)
				return err
			})
		}
		broken := errors.New("broken")
		note("close first", nil)
		note("close second", broken)
		stuck := make(chan struct{})
		c.add("close third", func() error { <-stuck; return nil })
		note("close fourth", broken)

		began := time.Now()
		err := c.run(2 * time.Second)
		if got := strings.Join(order, ", "); got != "close fourth, close second, close first" {
			t.Errorf("order: %s", got)
		}
		want := "close fourth: broken\nclose third: timed out\nclose second: broken"
		if err == nil || err.Error() != want || !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if again := c.run(time.Second); again == nil || again.Error() != want || len(order) != 3 {
			t.Errorf("the second time: %v, %v", again, order)
		}
		close(stuck)
	})
}
