package soak

import (
	"os"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

func TestMain(m *testing.M) { os.Exit(peers.WithProgram(m)) }
