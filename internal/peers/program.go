package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// WithProgram is a TestMain for tests that run the program as processes: it
// builds the real binary once, has binary say where it is, and returns what
// os.Exit is to be given. The binary is gone afterwards. It has what only
// trials need: a history, and a clock that goes wrong.
func WithProgram(m *testing.M, binary *string) (code int) {
	dir, err := os.MkdirTemp("", "gerritstream-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	*binary = filepath.Join(dir, "gerritstream")
	if err := buildProgram(*binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func buildProgram(to string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	build := exec.CommandContext(context.Background(), "go", "build", "-tags", "trial", "-o", to, "./cmd/gerritstream")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return nil
}
