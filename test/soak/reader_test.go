package soak

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// readerName is the consumer that the readers read as, one at a time.
const readerName = "soak"

// handleBatch handles a batch as a service might: it puts it into a file of its
// own, named by the time in nanoseconds. It takes a moment before, and has
// handled nothing if its reader is killed in that.
const handleBatch = `b=$BATCHES/$(date +%s%N)-$$; cat >"$b.part"; sleep 0.1; ` +
	`kill -0 $PPID && mv "$b.part" "$b.batch"`

const batchSuffix = ".batch"

// reader runs `queue read` again and again, as systemd does.
type reader struct {
	s      *soak
	number int
	store  string // as the flag has it

	mu      sync.Mutex
	program *peers.Program // under mu; nil: none was started yet
	stopped bool           // under mu
}

// startReaders has some processes read as readerName until stop is called.
func startReaders(s *soak, store string) (readers []*reader, stop func()) {
	if err := os.MkdirAll(batches(s), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.log.Add(history.Event{Kind: history.KindConsumer, Consumer: readerName})
	var running sync.WaitGroup
	for i := range 2 {
		r := &reader{s: s, number: i, store: store}
		readers = append(readers, r)
		running.Go(r.run)
	}
	return readers, func() {
		for _, r := range readers {
			r.stop()
		}
		running.Wait()
	}
}

func batches(s *soak) string { return filepath.Join(s.folder, "batches") }

// run starts the program whenever it has ended: there may be no queue yet, or
// its file may just be away.
func (r *reader) run() {
	log, err := os.Create(filepath.Join(r.s.folder, fmt.Sprintf("reader-%d.log", r.number)))
	if err != nil {
		r.s.t.Error(err)
		return
	}
	defer log.Close()
	for r.start(log) {
		for !r.program.Wait(time.Second) {
		}
		pause(context.Background(), 300*time.Millisecond)
	}
}

// start starts a process, unless the reader was stopped.
func (r *reader) start(log *os.File) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return false
	}
	r.program = peers.StartProgram(r.s.t, peers.ProgramOptions{
		Args: []string{
			"queue", "read", "--store", r.store, "--consumer", readerName, "--create", "first", "--follow", "--max", "50",
			"--", "sh", "-c", handleBatch,
		},
		Home: r.s.folder, Env: []string{"BATCHES=" + batches(r.s)}, Stdout: log, Stderr: log,
	})
	return true
}

// signal sends a signal to the process, and reports whether there was one.
func (r *reader) signal(sig syscall.Signal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.program != nil && r.program.State() == nil && r.program.Process.Signal(sig) == nil
}

// stop ends the process as an operator does.
func (r *reader) stop() {
	r.mu.Lock()
	r.stopped = true
	program := r.program
	r.mu.Unlock()
	if !r.signal(syscall.SIGTERM) || program.Wait(stopPatience) {
		return
	}
	r.s.t.Errorf("reader %d does not stop within %v", r.number, stopPatience)
	program.Kill()
}

// readerFaults are those of the readers. The one that reads as the name is hit
// half of the time.
func readerFaults(n *nemesis, readers func() []*reader, lease time.Duration) []fault {
	anyone := func() *reader { all := readers(); return all[n.s.rng.IntN(len(all))] }
	return []fault{
		{name: "consumer killed", class: classKill, weight: 3, do: func(context.Context) bool {
			return anyone().signal(syscall.SIGKILL)
		}},
		{name: "consumer frozen", class: classFreeze, do: func(ctx context.Context) bool {
			r := anyone()
			effect := r.signal(syscall.SIGSTOP)
			effect = pause(ctx, lease+n.between(time.Second, 2*time.Second)) && effect
			return r.signal(syscall.SIGCONT) && effect
		}},
	}
}

// recordBatches writes what the readers handled to the history.
func recordBatches(s *soak) {
	paths, err := filepath.Glob(filepath.Join(batches(s), "*"+batchSuffix))
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(paths)
	for _, path := range paths {
		at, _, _ := strings.Cut(filepath.Base(path), "-")
		nanoseconds, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		e := history.Event{At: time.Unix(0, nanoseconds), Kind: history.KindHandled, Consumer: readerName}
		batch, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(batch))
		for lines.Buffer(nil, 64<<20); lines.Scan(); {
			var row struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
				s.t.Fatalf("%s: %v", path, err)
			}
			e.Items = append(e.Items, history.Item{ID: row.ID})
		}
		s.log.Add(e)
	}
}
