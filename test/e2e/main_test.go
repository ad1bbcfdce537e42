// Package e2e tests the program from outside: the real binary, in processes,
// against its own and other Kinesis emulators, fed by boto3 and the AWS command
// line. internal/history judges what it queued, and a Python program that
// shares no code with it bears witness.
package e2e

import (
	"os"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

func TestMain(m *testing.M) { os.Exit(peers.WithProgram(m)) }
