package webhook_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/webhook"
)

// TestReach: a receiver is connected to and gets nothing; one whose address is
// private is not connected to.
func TestReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		raw, _ := io.ReadAll(conn)
		got <- string(raw)
		_ = conn.Close()
	}()
	hook := webhook.Hook{URL: webhook.URL("http://" + l.Addr().String() + "/t0ken")}
	if _, err := webhook.Reach(t.Context(), &hook, webhook.Network{}); !errors.Is(err, webhook.ErrForbiddenAddress) ||
		strings.Contains(err.Error(), "t0ken") {
		t.Errorf("a private address: %v", err)
	}
	hook.AllowPrivate = true
	at, err := webhook.Reach(t.Context(), &hook, webhook.Network{})
	if err != nil || at != netip.MustParseAddrPort(l.Addr().String()) {
		t.Errorf("reached %v: %v", at, err)
	}
	if raw := <-got; raw != "" {
		t.Errorf("the receiver got %q", raw)
	}
}
