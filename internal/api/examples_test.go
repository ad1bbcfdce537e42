package api

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
)

const documentedSocket = "/run/gerritstream/gerrit.sock"

// example returns the block of docs/consumers.md that begins with a text, for
// another socket.
func example(t *testing.T, begins, path string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "consumers.md"))
	if err != nil {
		t.Fatal(err)
	}
	const indent = "    "
	_, rest, found := strings.Cut(string(page), "\n"+indent+begins)
	if !found {
		t.Fatalf("docs/consumers.md has no example that begins with %s", begins)
	}
	code := begins
	for line := range strings.Lines(rest) {
		if strings.TrimSpace(line) != "" && code != begins && !strings.HasPrefix(line, indent) {
			break
		}
		code += strings.TrimPrefix(line, indent)
	}
	if !strings.Contains(code, documentedSocket) {
		t.Fatalf("the example does not name %s", documentedSocket)
	}
	return strings.ReplaceAll(code, documentedSocket, path)
}

// running serves a world on a socket until stop is called.
func (w *world) running(path string) (stop func()) {
	w.t.Helper()
	status := func() gerritstream.Status { return gerritstream.Status{Process: "one", Stream: stream0} }
	s, err := New(w.t.Context(), Options{Path: path, Feed: w.feed, Status: status, Queue: w.store})
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ran; err != nil {
			w.t.Error(err)
		}
	}
}

// output gathers what a program writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// until waits until the program has written a text.
func (o *output) until(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		o.mu.Lock()
		all := o.text.String()
		o.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the program does not write %q but\n%s", text, all)
		}
	}
}

// The documented examples run: the one for a shell, and the one in Python, also
// while the process restarts.
func TestExamples(t *testing.T) {
	peers.Require(t, peers.Shell, peers.Python)
	w := newWorld(t, t.TempDir())
	path := filepath.Join(t.TempDir(), "s")
	stop := w.running(path)
	w.commit(3, "ref-updated")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-euc", example(t, "api()", path))
	shell.Dir = t.TempDir()
	out, err := shell.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "1\tref-updated\tp\n2\tref-updated\tp\n3\tref-updated\tp\n") {
		t.Errorf("%v\n%s", err, out)
	}
	w.acked("shell", 3)
	if infos, err := w.store.Consumers(t.Context()); err != nil || infos[0].Reader != "" {
		t.Errorf("the session goes on: %+v, %v", infos, err)
	}

	var written output
	python := peers.PythonCommand(ctx, example(t, "import http.client", path))
	python.Stdout, python.Stderr = &written, &written
	w.must(python.Start())
	defer func() {
		_ = python.Process.Kill()
		_ = python.Wait() // it was killed
	}()
	written.until(t, fmt.Sprintf("3 ref-updated %s\n", id(3)))
	stop()
	w.commit(1, "change-merged")
	defer w.running(path)()
	written.until(t, fmt.Sprintf("4 change-merged %s\n", id(4)))
	written.mu.Lock()
	defer written.mu.Unlock()
	if text := written.text.String(); strings.Count(text, "4 change-merged") != 1 {
		t.Errorf("it handled an event twice:\n%s", text)
	}
}

func id(seq int) gerritstream.EventID {
	return gerritstream.NewEventID(stream0, shard0, record(seq).Seq, gerritstream.NoSub)
}
