package zookeeper_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// atOnce is how many tests run side by side: they wait for servers and sessions
// most of the time.
const atOnce = "10"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
