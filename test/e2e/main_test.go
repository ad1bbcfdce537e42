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

func TestMain(m *testing.M) { os.Exit(peers.WithProgram(m)) }
