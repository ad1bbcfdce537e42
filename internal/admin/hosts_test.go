package admin

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

func TestHosts(t *testing.T) {
	h := newHosts("ci1.example.com:9419", []string{"Gerritstream.monitoring.svc."})
	for host, want := range map[string]bool{
		"":                               true,
		"127.0.0.1:9419":                 true,
		"10.1.2.3":                       true,
		"[::1]:9419":                     true,
		"[fe80::1]":                      true,
		"localhost:9419":                 true,
		"LOCALHOST.":                     true,
		"a.localhost":                    true,
		"ci1.example.com:9419":           true,
		"gerritstream.monitoring.svc:80": true,
		"attacker.example.com":           false,
		"attacker.example.com:9419":      false,
		"localhost.example.com":          false,
		"127.0.0.1.example.com":          false,
		"notlocalhost":                   false,
		"[attacker.example.com]:80":      false,
	} {
		if got := h.allow(host); got != want {
			t.Errorf("%q is answered: %v, want %v", host, got, want)
		}
	}
}

// TestUnknownHostIsRefused asks for every page under another name.
func TestUnknownHostIsRefused(t *testing.T) {
	get := serve(t, fixed(gerritstream.Status{Listed: time.Now()}), newMetrics())
	for _, path := range []string{"/", "/updates", "/page.js", "/healthz", "/readyz", "/metrics", "/nothing"} {
		code, _, body := get("GET", path, func(r *http.Request) { r.Host = "attacker.example.com" })
		if code != http.StatusMisdirectedRequest {
			t.Errorf("%s: got %d %q, want 421", path, code, body)
		}
	}
}

// TestConnectionsAreBounded: many silent connections do not use up the file
// descriptors, and are cut so that others are served.
func TestConnectionsAreBounded(t *testing.T) {
	s, get := serveAt(t, fixed(gerritstream.Status{Listed: time.Now()}), newMetrics())
	var silent []net.Conn
	for range maxConnections {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	began := time.Now()
	code, _, _ := get("GET", "/healthz")
	waited := time.Since(began)
	if code != http.StatusOK || waited > 2*headerTimeout {
		t.Errorf("got %d after %v", code, waited)
	}
	if waited < headerTimeout/2 {
		t.Errorf("served after %v beside %d other connections", waited, len(silent))
	}
}
