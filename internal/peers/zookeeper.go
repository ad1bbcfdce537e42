package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ZooKeeperOptions configures a ZooKeeper. The zero value is one plain server
// with a tick of 500 ms.
type ZooKeeperOptions struct {
	// Servers is their number: 0 and 1 are a single one, 3 an ensemble that
	// works with two.
	Servers int

	// Tick is ZooKeeper's tickTime; 0: 500 ms. Sessions expire on a tick, and
	// last 2 to 20 ticks unless the next two fields change that.
	Tick time.Duration

	MinSessionTimeout time.Duration // 0: 2 ticks
	MaxSessionTimeout time.Duration // 0: 20 ticks

	// TLS gives each server a second port, for TLS, where clients must show a
	// certificate of the same authority.
	TLS *Certificates
}

func (o ZooKeeperOptions) withDefaults() ZooKeeperOptions {
	o.Servers = max(o.Servers, 1)
	o.Tick = cmp.Or(o.Tick, 500*time.Millisecond)
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
// all servers serve. It ends with the test, and a failed test shows the end of
// its logs. It needs [DebianZooKeeper].
//
// Requests may have 1,048,575 bytes, the default. Nothing waits for the disk: a
// killed server loses nothing, because the system holds what it wrote. All
// four-letter words are allowed.
func ZooKeeper(tb testing.TB, opts ZooKeeperOptions) *Ensemble {
	tb.Helper()
	zk := startEnsemble(tb, opts)
	tb.Cleanup(func() {
		for _, s := range zk.Servers {
			s.kill()
		}
		zk.showLogs(tb)
		zk.release()
	})
	return zk
}

// shared are the ensembles of SharedZooKeeper. They end with the process.
var shared = struct {
	mu        sync.Mutex // held while one starts
	ensembles map[ZooKeeperOptions]*Ensemble
}{ensembles: map[ZooKeeperOptions]*Ensemble{}}

// SharedZooKeeper returns the ZooKeeper that all tests of this process with the
// same options share. The first test starts it; it ends with the process,
// however that ends. Tests must leave its servers alone and use a [Chroot] of
// their own. Options with TLS need certificates that outlast the test.
func SharedZooKeeper(tb testing.TB, opts ZooKeeperOptions) *Ensemble {
	tb.Helper()
	opts = opts.withDefaults()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	zk, ok := shared.ensembles[opts]
	if !ok {
		zk = startEnsemble(tb, opts)
		zk.shared = true
		shared.ensembles[opts] = zk
	}
	tb.Cleanup(func() { zk.showLogs(tb) })
	return zk
}

// Hosts returns the servers' plain addresses as zuul.conf has them:
// "HOST:PORT,HOST:PORT".
func (e *Ensemble) Hosts() string { return e.join((*Server).Addr) }

// SecureHosts returns the servers' addresses for TLS.
func (e *Ensemble) SecureHosts() string { return e.join((*Server).SecureAddr) }

func (e *Ensemble) join(addr func(*Server) string) string {
	addrs := make([]string, len(e.Servers))
	for i, s := range e.Servers {
		addrs[i] = addr(s)
	}
	return strings.Join(addrs, ",")
}

// Await waits until every server that runs and is not frozen serves clients,
// for which more than half of the servers must run. It fails the test after a
// minute.
func (e *Ensemble) Await(tb testing.TB) {
	tb.Helper()
	if err := e.await(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

func (e *Ensemble) await(ctx context.Context) error {
	deadline := time.Now().Add(startTimeout)
	for _, s := range e.Servers {
		if err := s.await(ctx, deadline); err != nil {
			return err
		}
	}
	return nil
}

// Leader returns the server that leads the ensemble, or the single one. It
// fails the test when none leads.
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

// startAttempts is how often an ensemble is started if one of its servers ends
// at once, because its port was not free after all.
const startAttempts = 3

func startEnsemble(tb testing.TB, opts ZooKeeperOptions) *Ensemble {
	tb.Helper()
	Require(tb, DebianZooKeeper)
	opts = opts.withDefaults()
	for attempt := 1; ; attempt++ {
		zk, err := newEnsemble(opts)
		if err == nil {
			if err = zk.start(tb.Context()); err == nil {
				return zk
			}
			zk.release()
		}
		if attempt == startAttempts || tb.Context().Err() != nil {
			tb.Fatalf("start ZooKeeper: %v", err)
		}
		tb.Logf("start ZooKeeper again: %v", err)
	}
}

// newEnsemble makes the servers' folders; start starts them.
func newEnsemble(opts ZooKeeperOptions) (*Ensemble, error) {
	const perServer = 4 // clients, clients with TLS, followers, election
	ports, err := reservePorts(perServer * opts.Servers)
	if err != nil {
		return nil, err
	}
	e := &Ensemble{ports: ports}
	for i := range opts.Servers {
		p := ports.numbers[perServer*i:]
		e.Servers = append(e.Servers, &Server{
			id: i + 1, port: p[0], securePort: p[1], peerPort: p[2], electionPort: p[3], tls: opts.TLS != nil,
		})
	}
	for _, s := range e.Servers {
		if err := s.write(e, opts); err != nil {
			e.release()
			return nil, err
		}
	}
	return e, nil
}

func (e *Ensemble) start(ctx context.Context) error {
	for _, s := range e.Servers {
		if err := s.start(); err != nil {
			return err
		}
	}
	return e.await(ctx)
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

// release kills the servers and removes their folders.
func (e *Ensemble) release() {
	for _, s := range e.Servers {
		s.kill()
		if s.folder != "" {
			_ = os.RemoveAll(s.folder)
		}
	}
	e.ports.release()
}

// write makes the server's folder and the configuration in it. The folder
// belongs to no test, because a shared server outlives its test.
func (s *Server) write(e *Ensemble, opts ZooKeeperOptions) (err error) {
	if s.folder, err = os.MkdirTemp("", "zookeeper-*"); err != nil {
		return err
	}
	return errors.Join(
		os.Mkdir(s.data(), 0o700),
		os.WriteFile(filepath.Join(s.data(), "myid"), fmt.Appendln(nil, s.id), 0o600),
		os.WriteFile(s.config(), s.configuration(e, opts), 0o600),
	)
}

func (s *Server) data() string   { return filepath.Join(s.folder, "data") }
func (s *Server) config() string { return filepath.Join(s.folder, "zoo.cfg") }
func (s *Server) log() string    { return filepath.Join(s.folder, "log") }

// configuration returns the server's zoo.cfg. ZooKeeper takes unknown keys for
// system properties.
func (s *Server) configuration(e *Ensemble, opts ZooKeeperOptions) []byte {
	b := fmt.Appendf(nil, "dataDir=%s\ntickTime=%d\n", s.data(), opts.Tick.Milliseconds())
	b = fmt.Appendf(b, "clientPort=%d\nclientPortAddress=127.0.0.1\n", s.port)
	b = append(b, "admin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n"...)
	b = append(b, "forceSync=no\npreAllocSize=4096\n"...)
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

// ports are reserved ports of 127.0.0.1, so that a stopped server finds its
// port free when it starts again. The same ports of 127.0.0.2 are listened on,
// which keeps other test processes away. All are below the range from which
// Linux takes ports for outgoing connections.
type ports struct {
	numbers  []int
	reserved []net.Listener
}

const (
	firstPort = 20000
	lastPort  = 32000
)

// reservePorts returns n ports.
func reservePorts(n int) (*ports, error) {
	p := &ports{}
	for range 1000 {
		if len(p.numbers) == n {
			return p, nil
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		reserved, err := listen("127.0.0.2", port)
		if err != nil {
			continue
		}
		free, err := listen("127.0.0.1", port)
		if err != nil {
			_ = reserved.Close()
			continue
		}
		_ = free.Close()
		p.numbers = append(p.numbers, port)
		p.reserved = append(p.reserved, reserved)
	}
	p.release()
	return nil, fmt.Errorf("reserve %d ports between %d and %d: too few are free", n, firstPort, lastPort)
}

func (p *ports) release() {
	for _, l := range p.reserved {
		_ = l.Close()
	}
}

func listen(host string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(context.Background(), "tcp", fmt.Sprintf("%s:%d", host, port))
}
