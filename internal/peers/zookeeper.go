package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ZooKeeperOptions says what a ZooKeeper is like. The zero value is one plain
// server with a tick of 500 ms.
type ZooKeeperOptions struct {
	// Servers is how many there are: 0 and 1 are one alone, 3 an ensemble that
	// lives on with two.
	Servers int

	// Tick is ZooKeeper's tickTime: 0 is 500 ms. Sessions last 2 to 20 of them,
	// whatever was asked for, unless the next two say otherwise, and they
	// expire on a tick.
	Tick time.Duration

	MinSessionTimeout time.Duration // 0: 2 ticks
	MaxSessionTimeout time.Duration // 0: 20 ticks

	// TLS gives each server, beside its plain port, one for TLS, where clients
	// must show a certificate of the same authority.
	TLS *Certificates
}

func (o ZooKeeperOptions) withDefaults() ZooKeeperOptions {
	o.Servers = max(o.Servers, 1)
	if o.Tick == 0 {
		o.Tick = 500 * time.Millisecond
	}
	return o
}

// Ensemble is a running ZooKeeper: Debian's, of one server or several. Its
// methods and its servers' are for one goroutine at a time.
type Ensemble struct {
	Servers []*Server

	ports  *ports
	shared bool // it outlives the test
}

// ZooKeeper starts Debian's ZooKeeper on free loopback ports and returns once
// it serves: in an ensemble, all the servers. It ends with the test, and a
// failed test shows the end of its logs. It needs [DebianZooKeeper].
//
// Requests may have 1,048,575 bytes, as everywhere. Nothing waits for the disk:
// a killed server loses nothing, since the system holds what it wrote. All
// four-letter words are allowed.
func ZooKeeper(tb testing.TB, opts ZooKeeperOptions) *Ensemble {
	tb.Helper()
	Require(tb, DebianZooKeeper)
	opts = opts.withDefaults()
	zk, err := startEnsemble(tb, opts)
	if err != nil {
		tb.Fatalf("start ZooKeeper: %v", err)
	}
	tb.Cleanup(func() { zk.end(tb) })
	return zk
}

// shared are the ensembles of SharedZooKeeper. They end with the process.
var shared struct {
	mu        sync.Mutex // held while one starts
	ensembles map[ZooKeeperOptions]*Ensemble
}

// SharedZooKeeper returns the ZooKeeper that all tests of this process with the
// same options share: the first one starts it, and it ends with the process,
// whichever way that ends. A test stops, freezes and restarts none of its
// servers, and keeps to a [Chroot] of its own. Options with TLS need
// certificates that outlast the test.
func SharedZooKeeper(tb testing.TB, opts ZooKeeperOptions) *Ensemble {
	tb.Helper()
	Require(tb, DebianZooKeeper)
	opts = opts.withDefaults()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	zk, ok := shared.ensembles[opts]
	if !ok {
		var err error
		if zk, err = startEnsemble(tb, opts); err != nil {
			tb.Fatalf("start ZooKeeper: %v", err)
		}
		if shared.ensembles == nil {
			shared.ensembles = map[ZooKeeperOptions]*Ensemble{}
		}
		zk.shared = true
		shared.ensembles[opts] = zk
	}
	tb.Cleanup(func() { zk.showLogs(tb) })
	return zk
}

// Hosts returns the servers' plain addresses as zuul.conf has them:
// "HOST:PORT,HOST:PORT".
func (e *Ensemble) Hosts() string {
	return e.join((*Server).Addr)
}

// SecureHosts returns the servers' addresses for TLS.
func (e *Ensemble) SecureHosts() string {
	return e.join((*Server).SecureAddr)
}

func (e *Ensemble) join(addr func(*Server) string) string {
	addrs := make([]string, len(e.Servers))
	for i, s := range e.Servers {
		addrs[i] = addr(s)
	}
	return strings.Join(addrs, ",")
}

// Await returns once every server that runs and is not frozen serves clients.
// It fails the test when that takes longer than a minute: more than half of the
// servers must run.
func (e *Ensemble) Await(tb testing.TB) {
	tb.Helper()
	if err := e.await(tb); err != nil {
		tb.Fatal(err)
	}
}

func (e *Ensemble) await(tb testing.TB) error {
	tb.Helper()
	deadline := time.Now().Add(startTimeout)
	for _, s := range e.Servers {
		if err := s.await(tb.Context(), deadline); err != nil {
			return err
		}
	}
	return nil
}

// Leader returns the server that leads the ensemble: the only one, where there
// is one. It fails the test when none does.
func (e *Ensemble) Leader(tb testing.TB) *Server {
	tb.Helper()
	for _, s := range e.Servers {
		if s.frozen || s.child == nil {
			continue
		}
		if mode, err := s.Mode(tb.Context()); err == nil && (mode == "leader" || mode == "standalone") {
			return s
		}
	}
	tb.Fatal("no ZooKeeper server leads")
	return nil
}

// startAttempts is how often an ensemble is started when a server of it ends at
// once: its port was not free after all.
const startAttempts = 3

func startEnsemble(tb testing.TB, opts ZooKeeperOptions) (*Ensemble, error) {
	tb.Helper()
	for attempt := 1; ; attempt++ {
		zk, err := newEnsemble(opts)
		if err != nil {
			return nil, err
		}
		if err = zk.start(tb); err == nil {
			return zk, nil
		}
		zk.release()
		if attempt == startAttempts || tb.Context().Err() != nil {
			return nil, err
		}
		tb.Logf("start ZooKeeper again: %v", err)
	}
}

// newEnsemble writes the servers' folders and starts none.
func newEnsemble(opts ZooKeeperOptions) (*Ensemble, error) {
	const perServer = 4 // clients, clients with TLS, followers, election
	ports, err := reservePorts(perServer * opts.Servers)
	if err != nil {
		return nil, err
	}
	e := &Ensemble{ports: ports}
	for i := range opts.Servers {
		p := ports.numbers[perServer*i:]
		e.Servers = append(e.Servers, &Server{id: i + 1, port: p[0], securePort: p[1], peerPort: p[2], electionPort: p[3], tls: opts.TLS != nil})
	}
	for _, s := range e.Servers {
		if err := s.write(e, opts); err != nil {
			e.release()
			return nil, err
		}
	}
	return e, nil
}

func (e *Ensemble) start(tb testing.TB) error {
	tb.Helper()
	for _, s := range e.Servers {
		if err := s.start(); err != nil {
			return err
		}
	}
	return e.await(tb)
}

func (e *Ensemble) end(tb testing.TB) {
	tb.Helper()
	for _, s := range e.Servers {
		s.kill()
	}
	e.showLogs(tb)
	e.release()
}

func (e *Ensemble) showLogs(tb testing.TB) {
	tb.Helper()
	if !tb.Failed() {
		return
	}
	for _, s := range e.Servers {
		tb.Logf("ZooKeeper server %d, the end of its log:\n%s", s.id, tail(s.log()))
	}
}

// release ends what runs and removes the folders.
func (e *Ensemble) release() {
	for _, s := range e.Servers {
		s.kill()
		if s.folder != "" {
			_ = os.RemoveAll(s.folder)
		}
	}
	e.ports.release()
}

// write makes the server's folder and the configuration in it. The folder is no
// test's: a shared server outlives its test.
func (s *Server) write(e *Ensemble, opts ZooKeeperOptions) error {
	folder, err := os.MkdirTemp("", "zookeeper-*")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	s.folder = folder
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.data(), "myid"), fmt.Appendln(nil, s.id), 0o600); err != nil {
		return fmt.Errorf("write id: %w", err)
	}
	if err := os.WriteFile(s.config(), s.configuration(e, opts), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

func (s *Server) data() string   { return filepath.Join(s.folder, "data") }
func (s *Server) config() string { return filepath.Join(s.folder, "zoo.cfg") }
func (s *Server) log() string    { return filepath.Join(s.folder, "log") }

// configuration returns the server's zoo.cfg. ZooKeeper takes a key that it
// does not know for a system property.
func (s *Server) configuration(e *Ensemble, opts ZooKeeperOptions) []byte {
	b := fmt.Appendf(nil, "dataDir=%s\ntickTime=%d\n", s.data(), opts.Tick.Milliseconds())
	b = fmt.Appendf(b, "clientPort=%d\nclientPortAddress=127.0.0.1\n", s.port)
	b = append(b, "admin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\nforceSync=no\npreAllocSize=4096\n"...)
	if opts.MinSessionTimeout > 0 {
		b = fmt.Appendf(b, "minSessionTimeout=%d\n", opts.MinSessionTimeout.Milliseconds())
	}
	if opts.MaxSessionTimeout > 0 {
		b = fmt.Appendf(b, "maxSessionTimeout=%d\n", opts.MaxSessionTimeout.Milliseconds())
	}
	if len(e.Servers) > 1 {
		b = append(b, "initLimit=40\nsyncLimit=8\n"...)
		for _, peer := range e.Servers {
			b = fmt.Appendf(b, "server.%d=127.0.0.1:%d:%d\n", peer.id, peer.peerPort, peer.electionPort)
		}
	}
	if c := opts.TLS; c != nil {
		b = fmt.Appendf(b, "secureClientPort=%d\nsecureClientPortAddress=127.0.0.1\n", s.securePort)
		b = append(b, "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"...)
		b = append(b, "ssl.clientAuth=need\nssl.keyStore.type=PEM\nssl.trustStore.type=PEM\n"...)
		b = fmt.Appendf(b, "ssl.keyStore.location=%s\nssl.trustStore.location=%s\n", c.Server.Both, c.CA)
	}
	return b
}
