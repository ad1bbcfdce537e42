package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// loadZuul loads a zuul.conf that names the servers and certificates, and a
// connection with a key.
func loadZuul(t *testing.T, hosts string, tls *peers.Certificates, client peers.KeyPair,
	endpoint string) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "zuul.conf")
	text := fmt.Sprintf(`[zookeeper]
hosts=%s
tls_cert=%s
tls_key=%s
tls_ca=%s
session_timeout=5.0
[connection "review"]
driver=gerrit
aws_kinesis_region=us-east-1
aws_kinesis_stream=events
aws_kinesis_access_key=AKIDhunter2
aws_kinesis_secret_key=hunter2
`, hosts, client.Cert, client.Key, tls.CA)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{ZuulConf: file, Flags: map[string][]string{
		"endpoint": {endpoint}, "start-at": {"trim-horizon"}, "admin": {"off"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestZooKeeperWithNothingButZuulConf: over TLS and below a chroot, all events
// are queued, and Inspect finds them.
func TestZooKeeperWithNothingButZuulConf(t *testing.T) {
	certs := peers.MakeCertificates(t)
	zk := peers.ZooKeeper(t, peers.ZooKeeperOptions{TLS: certs})
	emulator := kinesistest.New(kinesistest.Options{NoLimits: true})
	server := httptest.NewServer(emulator)
	t.Cleanup(server.Close)
	if _, err := emulator.CreateStream("events", 2); err != nil {
		t.Fatal(err)
	}
	const events = 20
	for i := range events {
		if _, _, err := emulator.Put("events", fmt.Sprint(i),
			fmt.Appendf(nil, `{"type":"change-merged","n":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	c := loadZuul(t, zk.SecureHosts()+peers.Chroot(t, zk), certs, certs.Client, server.URL)
	var log strings.Builder
	d, err := New(t.Context(), Options{
		Config: c, UntilCaughtUp: true, Logger: slog.New(slog.NewTextHandler(&log,
			&slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.Run(ctx); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	in, err := c.Inspect(t.Context())
	if err != nil || in.Queue != events || len(in.Shards) != 2 {
		t.Errorf("%d events in %d shards, %v", in.Queue, len(in.Shards), err)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the key is logged:\n%s", &log)
	}
	found := checked(t, &c)
	if store := found["store"]; store.Result != Fine || !strings.Contains(store.Detail, "events: 20") {
		t.Errorf("the store: %v", store)
	}
	if reader := found["queue's reader"]; reader.Result != Wrong || !strings.Contains(reader.Detail, "no scheduler") {
		t.Errorf("the queue's reader: %v", reader)
	}
}

// checked returns what CheckLive finds, by check.
func checked(t *testing.T, c *config.Config) map[string]Checked {
	t.Helper()
	found := map[string]Checked{}
	for _, f := range CheckLive(t.Context(), c) {
		found[f.Check] = f
	}
	return found
}

// TestInspectOfUnusableZooKeeper: a missing chroot is a mistake in the
// configuration.
func TestInspectOfUnusableZooKeeper(t *testing.T) {
	zk := peers.ZooKeeper(t, peers.ZooKeeperOptions{})
	c, err := config.Load(config.Sources{StoreOnly: true, Flags: map[string][]string{
		"store": {"zookeeper://" + zk.Hosts() + "/nowhere"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Inspect(ctx); !errors.Is(err, gerritstream.ErrUnusable) ||
		!strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("got %v", err)
	}
	store := checked(t, &c)["store"]
	if _, setup := errors.AsType[*ConfigError](store.Err); !setup || store.Result != Wrong {
		t.Errorf("the store is checked as %v", store)
	}
}

// TestZooKeeperRefusesAtOnce: mistakes that show without a server are mistakes
// in the configuration.
func TestZooKeeperRefusesAtOnce(t *testing.T) {
	certs := peers.MakeCertificates(t)
	c := loadZuul(t, "127.0.0.1:1", certs, certs.Expired, "http://127.0.0.1:1")
	_, err := New(t.Context(), Options{Config: c})
	var setup *ConfigError
	if !errors.As(err, &setup) || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("got %v", err)
	}
}
