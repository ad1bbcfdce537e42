package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// TestAStartWaitsForPostgreSQL: a server that is away when a process starts, or
// goes away while it does, ends nothing.
func TestAStartWaitsForPostgreSQL(t *testing.T) {
	t.Parallel()
	server := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	link := peers.NewPostgreSQLLink(t, server.Addr())
	file := filepath.Join(t.TempDir(), "g.yaml")
	text := "stream: s\naws: {region: us-east-1, endpoint: \"http://127.0.0.1:1\"}\nadmin: \"off\"\nstore: " +
		peers.PostgreSQLURL("postgres", "disable", link.Addr()) +
		"\nwebhooks: [{name: ci, url: \"http://127.0.0.1:1/\", allow_private: true}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	server.Stop(t, peers.Fast)
	lost := link.LoseNextReply(func(request []byte) bool {
		return bytes.Contains(request, []byte("SELECT process, info FROM")) // the look for the other processes
	})
	type result struct {
		d   *Daemon
		err error
	}
	made := make(chan result, 1)
	go func() {
		d, err := New(t.Context(), Options{Config: c})
		made <- result{d, err}
	}()
	select {
	case r := <-made:
		t.Fatalf("a start does not wait: %v", r.err)
	case <-time.After(200 * time.Millisecond):
	}
	server.Start(t)
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	<-lost // while it started
	if err := r.d.Stop(); err != nil {
		t.Error(err)
	}
}
