package peers_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// connect opens a session of go-zookeeper, which internal/peers does not use.
func connect(t *testing.T, hosts ...string) *zk.Conn {
	t.Helper()
	conn, _, err := zk.Connect(hosts, 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// eventually calls f until it returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(time.Minute)
	for err := f(); err != nil; err = f() {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-tick.C
	}
}

func TestZooKeeperKeepsWhatItHasThroughKillAndStop(t *testing.T) {
	t.Parallel()
	began := time.Now()
	server := peers.ZooKeeper(t, peers.ZooKeeperOptions{Tick: 100 * time.Millisecond})
	t.Logf("one server serves after %v", time.Since(began))
	node := server.Servers[0]
	conn := connect(t, node.Addr())
	if _, err := conn.Create("/kept", []byte("data"), 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	node.Kill(t)
	if mode, err := node.Mode(t.Context()); err == nil {
		t.Fatalf("a killed server is %s", mode)
	}
	node.Start(t)
	server.Await(t)
	node.Restart(t)
	data, _, err := connect(t, node.Addr()).Get("/kept")
	if err != nil || string(data) != "data" {
		t.Errorf("after a kill and a stop: %q, %v", data, err)
	}
}

func TestAFrozenZooKeeperAnswersNothingUntilItThaws(t *testing.T) {
	t.Parallel()
	node := peers.ZooKeeper(t, peers.ZooKeeperOptions{}).Servers[0]
	node.Freeze(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if answer, err := node.Ask(ctx, "ruok"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("frozen: %q, %v", answer, err)
	}
	node.Thaw(t)
	if answer, err := node.Ask(t.Context(), "ruok"); err != nil || answer != "imok" {
		t.Errorf("thawed: %q, %v", answer, err)
	}
}

func TestZooKeeperSessionsLastAsTheTickAllows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		opts peers.ZooKeeperOptions
		want string
	}{
		{peers.ZooKeeperOptions{Tick: 250 * time.Millisecond}, "timeout=5000"},
		{peers.ZooKeeperOptions{MaxSessionTimeout: 7 * time.Second}, "timeout=7000"},
	} {
		logged := &logger{}
		conn, _, err := zk.Connect([]string{peers.ZooKeeper(t, c.opts).Hosts()}, time.Minute, zk.WithLogger(logged))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.Exists("/"); err != nil {
			t.Error(err)
		}
		conn.Close()
		if !slices.ContainsFunc(logged.lines(), func(l string) bool { return strings.Contains(l, c.want) }) {
			t.Errorf("%+v: negotiated %q, want %s", c.opts, logged.lines(), c.want)
		}
	}
}

func TestEnsembleLivesOnWithTwo(t *testing.T) {
	t.Parallel()
	began := time.Now()
	ensemble := peers.ZooKeeper(t, peers.ZooKeeperOptions{Servers: 3})
	t.Logf("three servers serve after %v", time.Since(began))
	conn := connect(t, strings.Split(ensemble.Hosts(), ",")...)
	if _, err := conn.Create("/n", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	first := ensemble.Leader(t)
	first.Kill(t)
	// The others follow a dead leader for a moment.
	eventually(t, func() error {
		for _, s := range ensemble.Servers {
			if mode, _ := s.Mode(t.Context()); s != first && mode == "leader" {
				return nil
			}
		}
		return errors.New("no new leader")
	})
	ensemble.Await(t)
	eventually(t, func() error {
		_, err := conn.Set("/n", []byte("two"), -1)
		return err
	})
	first.Start(t)
	ensemble.Await(t)
	data, _, err := connect(t, first.Addr()).Get("/n")
	if err != nil || string(data) != "two" {
		t.Errorf("the restarted server has %q, %v", data, err)
	}
	for _, s := range ensemble.Servers {
		s.Restart(t)
	}
	ensemble.Leader(t)
}

func TestSharedZooKeeperIsStartedOnceAndKeepsTestsApart(t *testing.T) {
	t.Parallel()
	var first *peers.Ensemble
	var chroot string
	t.Run("first", func(t *testing.T) {
		first = peers.SharedZooKeeper(t, peers.ZooKeeperOptions{})
		chroot = peers.Chroot(t, first)
		conn := connect(t, first.Hosts())
		for _, path := range []string{"/a", "/a/b", "/c"} {
			if _, err := conn.Create(chroot+path, nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
				t.Fatal(err)
			}
		}
	})
	second := peers.SharedZooKeeper(t, peers.ZooKeeperOptions{Servers: 1})
	if second != first {
		t.Error("the second test got another ZooKeeper")
	}
	if exists, _, err := connect(t, second.Hosts()).Exists(chroot); exists || err != nil {
		t.Errorf("the first test's chroot exists: %v, %v", exists, err)
	}
}

// sharing makes this test binary the process that is killed in the test below.
const sharing = "PEERS_TEST_SHARE"

func TestSharedZooKeeperEndsWithItsProcess(t *testing.T) {
	if os.Getenv(sharing) != "" {
		fmt.Println("addr", peers.SharedZooKeeper(t, peers.ZooKeeperOptions{}).Hosts())
		_, _ = io.Copy(io.Discard, os.Stdin) // killed here
		return
	}
	t.Parallel()
	peers.Require(t, peers.DebianZooKeeper)
	temp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), sharing+"=1", "TMPDIR="+temp)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // "signal: killed"
	addr, ok := strings.CutPrefix(strings.TrimSpace(addr), "addr ")
	if err != nil || !ok {
		t.Fatalf("the process said %q, %v", addr, err)
	}
	eventually(t, func() error {
		var d net.Dialer
		if conn, err := d.DialContext(t.Context(), "tcp", addr); err == nil {
			_ = conn.Close()
			return errors.New("the server outlived its process")
		}
		left, err := os.ReadDir(temp)
		if len(left) > 0 {
			return fmt.Errorf("left behind: %v", left)
		}
		return err
	})
}

func TestZooKeeperOverTLSAsksForACertificate(t *testing.T) {
	t.Parallel()
	certs := peers.MakeCertificates(t)
	server := peers.ZooKeeper(t, peers.ZooKeeperOptions{TLS: certs})
	for _, c := range []struct {
		name   string
		client peers.KeyPair
		ca     string
		ok     bool
	}{
		{"client", certs.Client, certs.CA, true},
		{"none", peers.KeyPair{}, certs.CA, false},
		{"expired", certs.Expired, certs.CA, false},
		{"foreign", certs.Foreign, certs.CA, false},
		{"another authority", certs.Client, certs.OtherCA, false},
	} {
		answer, err := askOverTLS(t, server.SecureHosts(), c.ca, c.client)
		if ok := answer == "imok"; ok != c.ok {
			t.Errorf("%s: answered %q, %v", c.name, answer, err)
		}
	}
	if _, err := server.Servers[0].Ask(t.Context(), "ruok"); err != nil {
		t.Errorf("plain port: %v", err)
	}
}

func TestServerCertificateIsForTheNamesAskedFor(t *testing.T) {
	t.Parallel()
	certs := peers.MakeCertificates(t, "zk.example")
	server := peers.ZooKeeper(t, peers.ZooKeeperOptions{TLS: certs})
	_, err := askOverTLS(t, server.SecureHosts(), certs.CA, certs.Client)
	if wrongName := (x509.HostnameError{}); !errors.As(err, &wrongName) {
		t.Errorf("a certificate for zk.example at 127.0.0.1: %v", err)
	}
}

// askOverTLS sends a server "ruok".
func askOverTLS(t *testing.T, addr, ca string, client peers.KeyPair) (string, error) {
	t.Helper()
	b, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	config.RootCAs.AppendCertsFromPEM(b)
	if client.Cert != "" {
		pair, err := tls.LoadX509KeyPair(client.Cert, client.Key)
		if err != nil {
			t.Fatal(err)
		}
		// Offered whatever the server asks for: the server must refuse it.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "ruok"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}
