package zookeeper_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// atOnce is how many tests run in parallel: most of the time they wait for
// servers and sessions.
const atOnce = "10"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := leaks(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// leaks reports leaked goroutines. Those of a killed session take up to a
// second to end, more on a busy machine.
func leaks() (err error) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if err = goleak.Find(); err == nil { // each look lasts a second or two
			return nil
		}
	}
	return err
}
