package soak

import (
	"os"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// binary is the program, built once by TestMain and not changed after.
var binary string

func TestMain(m *testing.M) { os.Exit(peers.WithProgram(m, &binary)) }
