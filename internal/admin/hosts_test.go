package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
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

// TestConnectionsAreBounded: many connections that nobody uses, silent ones and
// such as are kept alive, do not use up the file descriptors, and a probe is
// answered within its second all the same.
func TestConnectionsAreBounded(t *testing.T) {
	s, get := serveAt(t, fixed(gerritstream.Status{Listed: time.Now()}), newMetrics())
	const many = maxConnections + maxConnections/2
	var unused []net.Conn
	for i := range many {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		unused = append(unused, conn)
	}
	began := time.Now()
	if code, _, _ := get("GET", "/healthz"); code != http.StatusOK || time.Since(began) > headerTimeout-time.Second {
		t.Errorf("got %d after %v", code, time.Since(began))
	}
	closed := 0
	for _, conn := range unused {
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if closed <= many-maxConnections {
		t.Errorf("%d of %d were closed", closed, many)
	}
}

// TestSilentConnectionsEnd: also those that hold up nobody.
func TestSilentConnectionsEnd(t *testing.T) {
	t.Parallel()
	s, _ := serveAt(t, fixed(gerritstream.Status{}), newMetrics())
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(2 * headerTimeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}
