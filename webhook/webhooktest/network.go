package webhooktest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
)

// Network is a network in memory, on which Receivers listen at IP addresses of
// which it is the resolver as well. It works within a synctest bubble. Several
// goroutines may use it at once.
type Network struct {
	mu      sync.Mutex
	names   map[string][]netip.Addr // under mu
	servers map[string]*server      // under mu, by address; the port does not count
	dialled []string                // under mu
}

// server serves a handler on the network.
type server struct {
	http  *http.Server
	conns chan net.Conn
	stop  sync.Once
	ended chan struct{} // closed by stop
}

// NewNetwork returns a network without receivers.
func NewNetwork() *Network {
	return &Network{names: map[string][]netip.Addr{}, servers: map[string]*server{}}
}

// Name gives a host addresses, in place of those that it had.
func (n *Network) Name(host string, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[host] = nil
	for _, a := range addresses {
		n.names[host] = append(n.names[host], netip.MustParseAddr(a))
	}
}

// Resolve returns the addresses of a host.
func (n *Network) Resolve(_ context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addresses, ok := n.names[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addresses, nil
}

// Listen serves a handler at an address until Stop.
func (n *Network) Listen(address string, h http.Handler) {
	s := &server{
		http:  &http.Server{Handler: h}, //nolint:gosec // tests decide how long a request may take
		conns: make(chan net.Conn), ended: make(chan struct{}),
	}
	n.mu.Lock()
	n.servers[address] = s
	n.mu.Unlock()
	go func() { _ = s.http.Serve(listener{s}) }() // it ends with Stop
}

// Stop has an address refuse connections, and cuts those that there are.
func (n *Network) Stop(address string) {
	n.mu.Lock()
	s := n.servers[address]
	delete(n.servers, address)
	n.mu.Unlock()
	if s != nil {
		_ = s.http.Close()
	}
}

// Dialled returns the addresses that were connected to, or in vain.
func (n *Network) Dialled() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.dialled...)
}

// Dial connects to an address.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.dialled = append(n.dialled, host)
	s := n.servers[host]
	n.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	if s == nil {
		return nil, refused
	}
	client, conn := net.Pipe()
	select {
	case s.conns <- conn:
		return client, nil
	case <-s.ended:
		return nil, refused
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// listener is the net.Listener of a server.
type listener struct{ s *server }

var errClosed = errors.New("the receiver was stopped")

// Accept returns the next connection.
func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.s.conns:
		return c, nil
	case <-l.s.ended:
		return nil, errClosed
	}
}

// Close ends the listener.
func (l listener) Close() error {
	l.s.stop.Do(func() { close(l.s.ended) })
	return nil
}

// Addr returns an address that says nothing.
func (l listener) Addr() net.Addr { return &net.TCPAddr{} }
