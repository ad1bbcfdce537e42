package zookeeper

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// patience is how long a test waits for something that must happen.
const patience = 2 * time.Minute

// openThroughLinks opens a store that reaches one server by two links.
func openThroughLinks(t *testing.T, opts peers.ZooKeeperOptions, sessionTimeout time.Duration) (*Store,
	map[string]*peers.Link) {
	t.Helper()
	ensemble := peers.SharedZooKeeper(t, opts)
	links := map[string]*peers.Link{}
	c := Config{Chroot: peers.Chroot(t, ensemble), Connection: "gerrit", SessionTimeout: sessionTimeout}
	for range 2 {
		link := peers.NewZooKeeperLink(t, ensemble.Hosts())
		links[link.Addr()] = link
		c.Hosts = append(c.Hosts, link.Addr())
	}
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s, links
}

// A server that accepts connections but never answers is given up in time to
// try another one within the session.
func TestSilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	s, links := openThroughLinks(t, peers.ZooKeeperOptions{}, 10*time.Second)
	soon, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	term, err := s.Campaign(soon, 0, "shardId-000000000000")
	if err != nil {
		t.Fatal(err)
	}
	sess, err := s.await(soon)
	if err != nil {
		t.Fatal(err)
	}
	sess.mu.Lock()
	used := sess.link.RemoteAddr().String()
	sess.mu.Unlock()
	for addr, link := range links {
		if addr != used {
			link.Hold(peers.Both)
		}
	}
	links[used].Drop()
	ctx, end := context.WithTimeout(t.Context(), 30*time.Second)
	defer end()
	if err := sess.sync(ctx); err != nil { // lost with the connection, or never sent
		t.Logf("sync: %v", err)
	}
	for err := errAway; err != nil; err = sess.sync(ctx) {
		if term.Context().Err() != nil || ctx.Err() != nil {
			t.Fatalf("the leadership was lost: %v", context.Cause(term.Context()))
		}
	}
}

// Requests of a session are not carried out in the next one, although the
// library keeps them.
func TestNothingIsCarriedIntoTheNextSession(t *testing.T) {
	t.Parallel()
	s, links := openThroughLinks(t, peers.ZooKeeperOptions{Tick: 250 * time.Millisecond}, time.Second)
	soon, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sess, err := s.await(soon)
	if err != nil {
		t.Fatal(err)
	}
	if err := sess.ensure(soon, s.at.own); err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		link.Cut()
	}
	// Until the session is over, and after the links are restored, a request is
	// always queued.
	asking, stop := context.WithCancel(soon)
	defer stop()
	asked := make(chan int)
	go func() {
		n := 0
		defer func() { asked <- n }()
		for ; asking.Err() == nil && !sess.isOver(); n++ {
			ctx, cancel := context.WithTimeout(asking, 20*time.Millisecond)
			_ = sess.create(ctx, fmt.Sprintf("%s/stray-%d", s.at.own, n), nil, zk.FlagPersistent)
			cancel()
		}
	}()
	gone := time.NewTimer(3 * time.Second) // by then the server has let it run out
	<-gone.C
	for _, link := range links {
		link.Restore()
	}
	if n := <-asked; n == 0 {
		t.Fatal("no request was made")
	}
	next, err := s.await(soon)
	if err != nil {
		t.Fatal(err)
	}
	if next == sess {
		t.Fatal("the session did not expire")
	}
	if err := next.sync(soon); err != nil {
		t.Fatal(err)
	}
	strays, err := next.children(soon, s.at.own)
	if err != nil || len(strays) != 0 {
		t.Errorf("requests of the previous session were carried out: %q, %v", strays, err)
	}
}
