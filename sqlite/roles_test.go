package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// roles are what the test binary does as another process, by name. The result
// becomes its exit code.
var roles = map[string]func(path string) error{}

// childRole is the environment variable that gives the test binary a role, on
// the file that childPath names.
const childRole = "GERRITSTREAM_TEST_ROLE"

// nobody is a user without rights.
const nobody = 65534

// asAnother plays a role as a user who is not root. The file and its folder are
// made that user's.
func asAnother(t *testing.T, role, path string) {
	t.Helper()
	cmd := play(t, role, path)
	if os.Getuid() == 0 {
		for _, p := range []string{path, filepath.Dir(path)} {
			if err := os.Chown(p, nobody, nobody); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	ends(t, cmd)
}

// play returns a call of the test binary in a role. It calls a copy, since
// other users may not reach the original.
func play(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	binary, err := os.ReadFile(os.Args[0])
	must(t, err)
	folder := t.TempDir()
	must(t, os.Chmod(filepath.Dir(folder), 0o711)) //nolint:gosec // others get through
	copied := filepath.Join(folder, "test")
	must(t, os.WriteFile(copied, binary, 0o755)) //nolint:gosec // others run it
	cmd := exec.CommandContext(t.Context(), copied)
	cmd.Env = append(os.Environ(), childRole+"="+role, childPath+"="+path, "GORACE=atexit_sleep_ms=0")
	cmd.Dir = folder
	return cmd
}

// ends runs a role to its end.
func ends(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, bytes.TrimSpace(out))
	}
}

// wantError returns an error unless err has the text and is the target.
func wantError(err, is error, text string) error {
	if err == nil || !strings.Contains(err.Error(), text) || is != nil && !errors.Is(err, is) {
		return fmt.Errorf("the error is %q, want %q, as %v", fmt.Sprint(err), text, is)
	}
	return nil
}

// recorder keeps a log.
type recorder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *recorder) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
