package soak

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// worker runs one process of the real program after the other, with links of
// its own to Kinesis and the store. The nemesis' goroutine owns it.
type worker struct {
	s       *soak
	number  int
	kinesis *peers.Link
	out     outlet // of its sink
	starts  int
	program *peers.Program // nil: not started yet
	frozen  bool
}

func newWorker(s *soak, number int) *worker {
	return &worker{s: s, number: number, kinesis: peers.NewLink(s.t, s.stream.addr)}
}

// clockSteps draws how much the clock of a process goes wrong, and when. It is
// up to three hours, three times the retention of the SQLite queue: a sweep
// that trusted the clock would remove unread events.
func (w *worker) clockSteps() string {
	r := w.s.rng
	step := func() time.Duration { return time.Duration(r.IntN(6*3600)-3*3600) * time.Second }
	return fmt.Sprintf("%v@0s,%v@%v", step(), step(), time.Duration(1+r.IntN(20))*time.Second)
}

// start starts a process.
func (w *worker) start() {
	t := w.s.t
	w.starts++
	name := fmt.Sprintf("process-%d-%d", w.number, w.starts)
	args := append([]string{
		"run", "--stream", streamName, "--region", "us-east-1", "--endpoint", "http://" + w.kinesis.Addr(),
		"--start-at", "trim-horizon", "--admin", "off", "--read", *flagRead, "--log-format", "text", "--sink", "stdout",
		"--history", filepath.Join(w.s.folder, name+".ndjson"),
	}, w.s.store.args(w.number)...)
	log, err := os.Create(filepath.Join(w.s.folder, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has its own
	out, err := w.out.open()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close() // likewise
	w.program = peers.StartProgram(t, peers.ProgramOptions{
		Args: args, Home: w.s.folder, Env: []string{"GERRITSTREAM_CLOCK_STEPS=" +
			w.clockSteps()}, Stdout: out, Stderr: log,
	})
	w.frozen = false
}

// alive reports whether there is a process.
func (w *worker) alive() bool { return w.program != nil && w.program.State() == nil }

// kill ends the process without warning.
func (w *worker) kill() {
	if w.program != nil {
		w.program.Kill()
	}
}

// stopPatience is how long a stop may take; the program promises 5 s on an idle
// machine.
const stopPatience = 20 * time.Second

// stop ends the process as an operator does, and checks how it ends.
func (w *worker) stop() {
	if !w.alive() {
		return
	}
	w.thaw()
	_ = w.program.Process.Signal(syscall.SIGTERM)
	if !w.program.Wait(stopPatience) {
		w.s.t.Errorf("process %d-%d does not stop within %v", w.number, w.starts, stopPatience)
		w.kill()
		return
	}
	w.checkEnd()
}

// checkEnd fails the soak if a process ended by itself, or with an error.
func (w *worker) checkEnd() {
	if state := w.program.State(); state.ExitCode() > 0 {
		w.s.t.Errorf("process %d-%d ended with %v; its log ends with\n%s", w.number, w.starts, state, w.tail())
	}
}

// opened reports whether the process has opened its store.
func (w *worker) opened() bool {
	b, err := os.ReadFile(w.logPath())
	return err == nil && bytes.Contains(b, []byte("msg=starting"))
}

func (w *worker) logPath() string {
	return filepath.Join(w.s.folder, fmt.Sprintf("process-%d-%d.log", w.number, w.starts))
}

// tail returns the end of the process' log.
func (w *worker) tail() string {
	b, err := os.ReadFile(w.logPath())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2<<10):])
}

func (w *worker) freeze() {
	_ = w.program.Process.Signal(syscall.SIGSTOP)
	w.frozen = true
}

func (w *worker) thaw() {
	if w.frozen {
		_ = w.program.Process.Signal(syscall.SIGCONT)
		w.frozen = false
	}
}

// historyPath is where the process writes its history.
func (w *worker) historyPath() string {
	return filepath.Join(w.s.folder, fmt.Sprintf("process-%d-%d.ndjson", w.number, w.starts))
}

// leads reports whether the process leads a shard, according to its history.
func (w *worker) leads() bool {
	b, err := os.ReadFile(w.historyPath())
	if err != nil {
		return false
	}
	return strings.Count(string(b), `"kind":"elected"`) > strings.Count(string(b), `"kind":"term ended"`)
}

// leadsShard is leads for one shard.
func (w *worker) leadsShard(shard gerritstream.ShardID) bool {
	return len(eventsOf(w.historyPath(), history.KindElected, shard)) > len(eventsOf(w.historyPath(),
		history.KindTermEnded, shard))
}
