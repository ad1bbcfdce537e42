package webhook

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
)

// Reach connects to a hook's receiver, sends nothing and closes the connection.
// It returns the address that answered. ErrForbiddenAddress.
func Reach(ctx context.Context, h *Hook, n Network) (address netip.AddrPort, err error) {
	u, err := url.Parse(string(h.URL))
	if err != nil {
		return address, fmt.Errorf("%s: not a URL", h.URL) // which may hold a token
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	conn, err := newDialer(n, h.AllowPrivate).dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return address, fmt.Errorf("connect to %s: %w", h.URL, err)
	}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		address = tcp.AddrPort()
	}
	return address, conn.Close()
}
