package bench_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream/internal/bench"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/peers"
)

func TestMain(m *testing.M) { os.Exit(peers.WithProgram(m)) }

// brief is a bench that takes seconds.
func brief(t *testing.T, store string, only ...string) bench.Options {
	t.Helper()
	c := config.Defaults()
	if err := c.Store.Set(store); err != nil {
		t.Fatal(err)
	}
	c.Store.ZooKeeper.SessionTimeout = 2 * time.Second
	return bench.Options{
		Config: c, Only: only, Ceiling: 600 * time.Millisecond, Batches: []int{50}, Shards: []int{2},
		Rate: 20, Delay: time.Second, Handed: 1, Taken: 1, Program: peers.ProgramPath, Progress: t.Output(),
	}
}

// server is a ZooKeeper as somebody else sees it.
type server struct {
	t      *testing.T
	conn   *zk.Conn
	chroot string
	store  string
}

func newServer(t *testing.T, opts peers.ZooKeeperOptions) *server {
	t.Helper()
	ensemble := peers.SharedZooKeeper(t, opts)
	s := &server{t: t, chroot: peers.Chroot(t, ensemble)}
	s.store = "zookeeper://" + ensemble.Hosts() + s.chroot
	s.conn = s.connect(strings.Split(ensemble.Hosts(), ","))
	return s
}

func (s *server) connect(hosts []string) *zk.Conn {
	s.t.Helper()
	conn, _, err := zk.Connect(hosts, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	return conn
}

// nodes returns all nodes below a chroot.
func (s *server) nodes(node string) (all []string) {
	s.t.Helper()
	names, _, err := s.conn.Children(node)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		s.t.Fatal(err)
	}
	for _, name := range names {
		all = append(append(all, node+"/"+name), s.nodes(node+"/"+name)...)
	}
	slices.Sort(all)
	return all
}

// make makes nodes with what is missing above them.
func (s *server) make(paths ...string) {
	s.t.Helper()
	for _, p := range paths {
		for i := range p {
			if i > 0 && p[i] == '/' {
				s.makeOne(p[:i], 0)
			}
		}
		s.makeOne(p, 0)
	}
}

func (s *server) makeOne(path string, flags int32) {
	s.t.Helper()
	_, err := s.conn.Create(s.chroot+path, nil, flags, zk.WorldACL(zk.PermAll))
	if err != nil && !errors.Is(err, zk.ErrNodeExists) {
		s.t.Fatalf("make %s: %v", path, err)
	}
}

// refused fails unless a bench is refused with this reason, and has changed
// nothing.
func (s *server) refused(why string) {
	s.t.Helper()
	before := s.nodes(s.chroot)
	_, err := bench.Run(s.t.Context(), brief(s.t, s.store, "commit"))
	fault, ok := errors.AsType[*daemon.ConfigError](err)
	if !ok || !strings.Contains(fault.Error(), why) {
		s.t.Errorf("it ends with %v, and should be refused with %q", err, why)
	}
	if now := s.nodes(s.chroot); !slices.Equal(before, now) {
		s.t.Errorf("the nodes were %q and are %q", before, now)
	}
}

func figure(t *testing.T, r *bench.Report, name string) bench.Figure {
	t.Helper()
	i := slices.IndexFunc(r.Figures, func(f bench.Figure) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("no figure is of %s: %+v", name, r.Figures)
	}
	return r.Figures[i]
}

// A bench on ZooKeeper has each figure beside the raw one, and leaves nothing
// behind: neither its own nodes nor those above them that it made.
func TestOnZooKeeperNothingIsLeft(t *testing.T) {
	t.Parallel()
	s := newServer(t, peers.ZooKeeperOptions{})
	s.make("/zuul") // somebody's: it stays
	r, err := bench.Run(t.Context(), brief(t, s.store))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range bench.Names() {
		if f := figure(t, r, name); f.Ours <= 0 || f.Raw <= 0 || f.Ratio <= 0 {
			t.Errorf("%s lacks something: %+v", name, f)
		}
	}
	if left := s.nodes(s.chroot); !slices.Equal(left, []string{s.chroot + "/zuul"}) {
		t.Errorf("left: %q", left)
	}
}

func TestOverTLSItsProcessesConnectAsWell(t *testing.T) {
	t.Parallel()
	certs := peers.MakeCertificates(t)
	ensemble := peers.ZooKeeper(t, peers.ZooKeeperOptions{TLS: certs})
	o := brief(t, "zookeeper://"+ensemble.SecureHosts(), "commit", "hand-over")
	o.Config.Store.TLS.Cert, o.Config.Store.TLS.Key = certs.Client.Cert, certs.Client.Key
	o.Config.Store.TLS.CA = certs.CA
	r, err := bench.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	figure(t, r, "commit")
	figure(t, r, "hand-over")
}

// A ZooKeeper that is in use is refused, by whatever program.
func TestAZooKeeperInUseIsRefused(t *testing.T) {
	for name, use := range map[string]struct{ node, why string }{
		"members":    {"/gerritstream/gerrit/members/m", "connection gerrit has 1 member"},
		"queue":      {"/zuul/events/connection/gerrit/events/queue/q0", "connection gerrit has 1 queued event"},
		"candidates": {"/zuul/events/connection/g/election-aws_kinesis_s/c", "connection g has 1 candidate"},
		"zuul":       {"/zuul/components/scheduler/zuul01", "Zuul has 1 scheduler"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, peers.ZooKeeperOptions{})
			s.make(use.node)
			s.refused(use.why)

			o := brief(t, s.store, "commit")
			o.Shared = true
			before := s.nodes(s.chroot)
			if _, err := bench.Run(t.Context(), o); err != nil {
				t.Errorf("although it is allowed: %v", err)
			}
			if now := s.nodes(s.chroot); !slices.Equal(before, now) {
				t.Errorf("the nodes were %q and are %q", before, now)
			}
		})
	}
}

// What a killed bench has left is removed by the next one, but not what one
// that runs has made.
func TestOnlyWhatAKilledBenchLeftIsRemoved(t *testing.T) {
	t.Parallel()
	s := newServer(t, peers.ZooKeeperOptions{})
	const name = "gerritstream-bench-abcdefgh"
	s.make("/gerritstream/"+name+"-commit/e0/positions/s", "/zuul/events/connection/"+name+"-commit/events/queue/q0",
		"/gerritstream/"+name)
	s.makeOne("/gerritstream/"+name+"/alive", zk.FlagEphemeral)
	s.refused("the bench " + name + " runs")
	if err := s.conn.Delete(s.chroot+"/gerritstream/"+name+"/alive", -1); err != nil {
		t.Fatal(err)
	}
	made := strings.Join([]string{s.chroot + "/gerritstream", s.chroot + "/zuul/events/connection"}, "\n")
	if _, err := s.conn.Set(s.chroot+"/gerritstream/"+name, []byte(made), -1); err != nil {
		t.Fatal(err)
	}
	r, err := bench.Run(t.Context(), brief(t, s.store, "classification"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Notes) != 2 || !strings.HasPrefix(r.Notes[0], "Removed "+name) {
		t.Errorf("notes: %q", r.Notes)
	}
	if left := s.nodes(s.chroot); !slices.Equal(left, []string{s.chroot + "/zuul", s.chroot + "/zuul/events"}) {
		t.Errorf("left: %q", left)
	}
}

// The end of the context in the middle of a measurement is no error, and
// nothing is left.
func TestAnInterruptedBenchLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t, peers.ZooKeeperOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := brief(t, s.store, "hand-over", "commit")
	o.Handed = 1000
	o.Progress = &until{text: []byte(" 1 of 1000"), then: cancel}
	r, err := bench.Run(ctx, o)
	if err != nil || !r.Interrupted {
		t.Errorf("it ends with %v, and interrupted is %t", err, r != nil && r.Interrupted)
	}
	if left := s.nodes(s.chroot); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// until is a writer that calls a function once it was shown a text.
type until struct {
	text []byte
	then func()
}

func (u *until) Write(p []byte) (int, error) {
	if bytes.Contains(p, u.text) {
		u.then()
	}
	return len(p), nil
}

func TestAChrootMustExist(t *testing.T) {
	s := newServer(t, peers.ZooKeeperOptions{})
	s.store += "/missing"
	s.refused("the chroot " + s.chroot + "/missing does not exist")
}

// A commit that is too large for the store is noticed before anything is
// measured.
func TestALargeBatchIsRefusedAtOnce(t *testing.T) {
	s := newServer(t, peers.ZooKeeperOptions{})
	o := brief(t, s.store, "classification", "commit")
	o.Batches = []int{10, 101}
	r, err := bench.Run(t.Context(), o)
	if _, ok := errors.AsType[*daemon.ConfigError](err); !ok || !strings.Contains(err.Error(), "at once: 100 events") {
		t.Errorf("it ends with %v", err)
	}
	if len(r.Figures) > 0 {
		t.Errorf("it measured %+v", r.Figures)
	}
	if left := s.nodes(s.chroot); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
