package soak

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// commandWithin is how long a command may take that only writes to the store.
const commandWithin = time.Minute

// pauseShards pauses all shards for a while, as an operator does, and has a
// leader killed or not meanwhile. Nothing may be queued then.
func (n *nemesis) pauseShards(ctx context.Context) bool {
	if !n.operate("pause", "--all", "--reason", "soak", "--for", "1h") {
		return false
	}
	before := n.s.store.pending()
	if n.s.rng.IntN(2) == 0 {
		n.kill(ctx)
		n.check()
	}
	effect := pause(ctx, n.between(time.Second, 3*time.Second))
	if now := n.s.store.pending(); now > before && !*flagPython { // who is no listener of ours
		n.s.t.Errorf("%d events were queued during a pause", now-before)
	}
	return n.operate("resume", "--all") && effect
}

// operate runs a command on the store, which must succeed.
func (n *nemesis) operate(args ...string) bool {
	store := n.s.store.args(0)
	for i := 0; i+1 < len(store); i += 2 {
		if store[i] == "--store" || store[i] == "--connection" {
			args = append(args, store[i], store[i+1])
		}
	}
	path := filepath.Join(n.s.folder, "operator.log")
	log, err := os.Create(path)
	if err != nil {
		n.s.t.Fatal(err)
	}
	defer log.Close() // the process has its own
	program := peers.StartProgram(n.s.t, peers.ProgramOptions{
		Args: args, Home: n.s.folder, Stdout: log, Stderr: log,
	})
	if !program.Wait(commandWithin) || program.State().ExitCode() != 0 {
		said, _ := os.ReadFile(path)
		n.s.t.Errorf("gerritstream %v failed: %s", args, said)
		return false
	}
	return true
}
