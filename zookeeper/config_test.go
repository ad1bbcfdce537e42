package zookeeper_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// Open reports every fault of a configuration at once, one line each.
func TestBadConfig(t *testing.T) {
	t.Parallel()
	certs := peers.MakeCertificates(t)
	good := zookeeper.TLS{Cert: certs.Client.Cert, Key: certs.Client.Key, CA: certs.CA}
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*zookeeper.TLS)) *zookeeper.TLS {
		c := good
		change(&c)
		return &c
	}
	for name, tc := range map[string]struct {
		config zookeeper.Config
		want   string
	}{
		"no hosts":             {zookeeper.Config{Connection: "c"}, "no hosts"},
		"no connection":        {zookeeper.Config{Hosts: []string{"h"}}, "no connection"},
		"a host with a chroot": {zookeeper.Config{Hosts: []string{"h/c"}, Connection: "c"}, `"h/c"`},
		"a relative chroot":    {zookeeper.Config{Hosts: []string{"h"}, Connection: "c", Chroot: "x"}, `"x"`},
		"a session of no length": {zookeeper.Config{Hosts: []string{"h"}, Connection: "c", SessionTimeout: 1},
			"too short"},
		"no certificate": {zookeeper.Config{TLS: with(func(c *zookeeper.TLS) { c.Cert = "" })},
			"no file given for the certificate"},
		"a missing certificate": {zookeeper.Config{TLS: with(func(c *zookeeper.TLS) { c.Cert += "x" })},
			"no such file"},
		"a missing key": {zookeeper.Config{TLS: with(func(c *zookeeper.TLS) { c.Key += "x" })},
			"read the key"},
		"a missing CA": {zookeeper.Config{TLS: with(func(c *zookeeper.TLS) { c.CA += "x" })},
			"read the CA certificate"},
		"a folder": {zookeeper.Config{TLS: with(func(c *zookeeper.TLS) { c.CA = filepath.Dir(garbage) })},
			"is a directory"},
		"garbage": {zookeeper.Config{TLS: with(func(c *zookeeper.TLS) { c.Cert = garbage })},
			"read the client certificate"},
		"a garbage CA": {zookeeper.Config{TLS: with(func(c *zookeeper.TLS) { c.CA = garbage })},
			"contains no certificate"},
		"another one's key": {zookeeper.Config{TLS: with(func(c *zookeeper.TLS) { c.Key = certs.Foreign.Key })},
			"does not match"},
		"an expired certificate": {zookeeper.Config{TLS: with(func(c *zookeeper.TLS) {
			c.Cert, c.Key = certs.Expired.Cert, certs.Expired.Key
		})}, "expired at"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.config.TLS != nil {
				tc.config.Hosts, tc.config.Connection = []string{"h"}, "c"
			}
			_, err := zookeeper.Open(t.Context(), tc.config)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("open returned %v, want one line with %q", err, tc.want)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certs := peers.MakeCertificates(t, "127.0.0.1")
	ensemble := peers.ZooKeeper(t, peers.ZooKeeperOptions{TLS: certs})
	host := ensemble.Servers[0].SecureAddr()
	_, port, _ := strings.Cut(host, ":")
	good := zookeeper.TLS{Cert: certs.Client.Cert, Key: certs.Client.Key, CA: certs.CA}
	for name, tc := range map[string]struct {
		host   string
		config *zookeeper.TLS
		want   string // of the error; empty: it works
	}{
		"as Zuul does": {host, &good, ""},
		"with the name checked": {host, &zookeeper.TLS{Cert: good.Cert, Key: good.Key, CA: good.CA,
			VerifyHostname: true}, ""},
		"another name, unchecked": {"localhost:" + port, &good, ""},
		"another name, checked": {"localhost:" + port, &zookeeper.TLS{Cert: good.Cert, Key: good.Key, CA: good.CA,
			VerifyHostname: true}, "localhost"},
		"a wrong CA": {host, &zookeeper.TLS{Cert: good.Cert, Key: good.Key, CA: certs.OtherCA},
			"unknown authority"},
		"a wrong CA, name checked": {host, &zookeeper.TLS{Cert: good.Cert, Key: good.Key, CA: certs.OtherCA,
			VerifyHostname: true}, "unknown authority"},
		"an unknown client": {host, &zookeeper.TLS{Cert: certs.Foreign.Cert, Key: certs.Foreign.Key,
			CA: certs.CA}, "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := zookeeper.Open(t.Context(), zookeeper.Config{Hosts: []string{tc.host}, Connection: "c",
				TLS: tc.config})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = store.Close(context.Background()) }()
			if tc.want == "" {
				resign(t, elect(t, store, gerritstream.ShardID(strings.ReplaceAll(name, " ", "-"))))
				return
			}
			_, err = store.Campaign(soon(t), 0, shardA)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("campaign returned %v, want %q", err, tc.want)
			}
			if !errors.Is(err, zookeeper.ErrConfig) {
				t.Errorf("campaign returned %v, which is not %v", err, zookeeper.ErrConfig)
			}
		})
	}
}

// A port that does not speak TLS looks like a server that is away. The error
// says what is known.
func TestTLSToAPlainPort(t *testing.T) {
	t.Parallel()
	certs := peers.MakeCertificates(t)
	c := newCluster(t, single).config(zookeeper.Config{TLS: &zookeeper.TLS{Cert: certs.Client.Cert,
		Key: certs.Client.Key, CA: certs.CA}})
	if _, err := zookeeper.Inspect(soon(t), c); err == nil || !strings.Contains(err.Error(), "TLS") ||
		!strings.Contains(err.Error(), c.Hosts[0]) {
		t.Errorf("inspect returned %v", err)
	}
}

// A missing chroot is named in the error and not made; once it exists the store
// works.
func TestMissingChroot(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	c := cl.config(zookeeper.Config{})
	c.Chroot += "/missing/below"
	store, err := zookeeper.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close(context.Background()) }()
	for what, call := range map[string]func() error{
		"campaign":  func() error { _, err := store.Campaign(soon(t), 0, shardA); return err },
		"start":     func() error { _, _, err := store.Origin(soon(t)); return err },
		"positions": func() error { _, err := store.Positions(soon(t), 0); return err },
		"inspect":   func() error { _, err := zookeeper.Inspect(soon(t), c); return err },
	} {
		if err := call(); !errors.Is(err, zookeeper.ErrConfig) || !strings.Contains(err.Error(), c.Chroot) {
			t.Errorf("%s returned %v", what, err)
		}
	}
	if len(cl.children(cl.chroot)) != 0 {
		t.Error("the chroot was made")
	}
	cl.put(c.Chroot, []byte{})
	eventually(t, "the store works", func() bool { _, _, err := store.Origin(soon(t)); return err == nil })
}

// A campaign that access control denies gives up, because waiting does not
// help.
func TestRefusedByAccessControl(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	if _, err := cl.raw.Create(cl.chroot+"/zuul", []byte{}, 0, zk.WorldACL(zk.PermRead)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cl.raw.SetACL(cl.chroot+"/zuul", zk.WorldACL(zk.PermAll), -1) })
	_, err := cl.open(zookeeper.Config{}).Campaign(soon(t), 0, shardA)
	if !errors.Is(err, zk.ErrNoAuth) || !strings.Contains(err.Error(), "access control") {
		t.Errorf("campaign returned %v", err)
	}
}

// A damaged origin, or one of a newer version, is refused and not overwritten.
func TestGarbageOrigin(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	for _, garbage := range []string{"", "{", "null", "[]", "{}", `{"format": 1}`, `{"format": 2, "x": 1}`, "\xff"} {
		cl.put(cl.own("/start"), []byte(garbage))
		if _, _, err := store.Origin(soon(t)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("origin %q: %v", garbage, err)
		}
		if err := store.SetOrigin(soon(t), nil, gerritstream.Origin{Stream: stream}); err == nil {
			t.Errorf("origin %q was overwritten", garbage)
		}
		if got := string(cl.get(cl.own("/start"))); got != garbage {
			t.Errorf("origin %q became %q", garbage, got)
		}
	}
}

// logBuffer collects what is logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // under mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// The negotiated timeout is logged, and so is an outage; no payload is.
func TestLog(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	log := &logBuffer{}
	link := peers.NewZooKeeperLink(t, cl.hosts[0])
	c := cl.config(zookeeper.Config{SessionTimeout: time.Hour,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	c.Hosts = []string{link.Addr()}
	store, err := zookeeper.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close(context.Background()) }()
	commit(t, elect(t, store, shardA), step(shardA, 1, 2))
	if got := log.String(); !strings.Contains(got, "timeout_asked=1h0m0s timeout_negotiated=1m0s") {
		t.Errorf("the log is\n%s", got)
	}
	link.Cut()
	eventually(t, "the outage is logged", func() bool {
		return strings.Contains(log.String(), "ZooKeeper unavailable")
	})
	link.Restore()
	eventually(t, "the end of the outage is logged", func() bool {
		return strings.Contains(log.String(), "available again")
	})
	if n := strings.Count(log.String(), "ZooKeeper unavailable"); n != 1 {
		t.Errorf("the outage is logged %d times", n)
	}
	if strings.Contains(log.String(), "comment-added") {
		t.Error("a payload is logged")
	}
}

// A server that accepts connections but never answers does not keep a process
// from the other servers.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	ensemble := peers.ZooKeeper(t, peers.ZooKeeperOptions{Servers: 3, MaxSessionTimeout: steady})
	store, err := zookeeper.Open(t.Context(), zookeeper.Config{
		Hosts: strings.Split(ensemble.Hosts(), ","), Connection: connection, SessionTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close(context.Background()) }()
	for _, server := range ensemble.Servers {
		n := 1
		term := elect(t, store, shardA)
		if began := term.Beginning(); began.Stored {
			for sequence(n) != began.Position.After {
				n++
			}
			n++
		}
		server.Freeze(t)
		for until := time.Now().Add(3 * time.Second); time.Now().Before(until); n++ {
			if err := term.Commit(soon(t), step(shardA, n, n)); err != nil { // a slow machine may take too long
				t.Logf("commit: %v", err)
				_ = term.Resign(soon(t))
				term = elect(t, store, shardA)
				n--
			}
		}
		resign(t, term)
		server.Thaw(t)
		ensemble.Await(t)
	}
}
