// Package e2e tests the program from outside: the real binary, in processes,
// against Kinesis emulators written elsewhere and against its own, fed by boto3
// and the AWS command line, and judged by what another language reads from the
// database.
package e2e

import (
	"os"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// binary is the program under test, built once by TestMain and not changed
// after.
var binary string

func TestMain(m *testing.M) { os.Exit(peers.WithProgram(m, &binary)) }
